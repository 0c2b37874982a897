package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
)

// job is the name under which templates has the init job.
func job(t *testing.T, objects []unstructured.Unstructured) string {
	t.Helper()
	for _, o := range objects {
		if o.GetKind() == "Job" {
			return "Job/" + o.GetName()
		}
	}
	require.Fail(t, "there is no Job")
	return ""
}

// api is a real API server with an administrator's client.
type api struct {
	cluster *kubetest.Cluster
	admin   *kubernetes.Clientset
}

func start(t *testing.T) *api {
	t.Helper()
	a := &api{cluster: kubetest.Start(t)}
	var err error
	a.admin, err = kubernetes.NewForConfig(a.cluster.Admin)
	require.NoError(t, err)
	for _, name := range []string{namespace, "validators", "more"} {
		_, err = a.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
		}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	return a
}

func (a *api) kubectl(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	return run(t, []byte(stdin), tool(t, "kubectl"), append([]string{"--kubeconfig", a.cluster.AdminKubeconfig, "--cache-dir", t.TempDir()}, args...)...)
}

// dryRun has the API server check everything as if it were applied; unknown fields are
// errors.
func (a *api) dryRun(t *testing.T, text string) {
	t.Helper()
	out, err := a.kubectl(t, text, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
	require.NoError(t, err, out)
	require.NotContains(t, out, "Warning", "would violate PodSecurity, deprecated and so on")
}

// requireRestricted makes the pods of which there are templates, in a namespace that
// takes none but restricted ones.
func (a *api) requireRestricted(t *testing.T, objects []unstructured.Unstructured) {
	t.Helper()
	for name, template := range templates(t, objects) {
		spec := template.Spec
		spec.ServiceAccountName, spec.PriorityClassName = "", "" // not here
		if strings.HasPrefix(name, "StatefulSet/") {             // which adds the volume of its claim
			spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "data"})
		}
		no := false
		spec.AutomountServiceAccountToken = &no
		_, err := a.admin.CoreV1().ServiceAccounts("more").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
		require.True(t, err == nil || apierrors.IsAlreadyExists(err))
		_, err = a.admin.CoreV1().Pods("more").Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "restricted-"}, Spec: spec,
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		require.NoError(t, err, name)
		for _, c := range containers(spec) {
			require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem, "%s, %s", name, c.Name)
		}
	}
}

// TestAPIServerTakesIt has a real API server read all manifests.
func TestAPIServerTakesIt(t *testing.T) {
	t.Parallel()
	a := start(t)
	crds, err := os.ReadFile(filepath.Join("testdata", "crds.yaml"))
	require.NoError(t, err)
	out, err := a.kubectl(t, string(crds), "apply", "-f", "-")
	require.NoError(t, err, out)
	out, err = a.kubectl(t, "", "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
	require.NoError(t, err, out)

	for name, values := range both() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects, text := rendered(t, values...)
			a.dryRun(t, text)
			a.requireRestricted(t, objects)
		})
	}
	for _, path := range []string{"kustomize", "validators", filepath.Join("validators", "lighthouse")} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			objects, text := kustomized(t, path)
			a.dryRun(t, text)
			a.requireRestricted(t, objects)
		})
	}
	t.Run("helm", func(t *testing.T) {
		t.Parallel()
		a.upgrades(t)
	})
	t.Run("scale", func(t *testing.T) {
		t.Parallel()
		a.scales(t)
	})
	t.Run("rights", func(t *testing.T) {
		t.Parallel()
		a.rights(t)
	})
	t.Run("init", func(t *testing.T) {
		t.Parallel()
		a.initSecrets(t)
	})
}

// apply applies the objects of some kinds for good.
func (a *api) apply(t *testing.T, objects []unstructured.Unstructured, kinds ...string) {
	t.Helper()
	var text strings.Builder
	for _, o := range objects {
		if slices.Contains(kinds, o.GetKind()) {
			raw, err := o.MarshalJSON()
			require.NoError(t, err)
			text.WriteString("---\n")
			text.Write(raw)
			text.WriteString("\n")
		}
	}
	out, err := a.kubectl(t, text.String(), "apply", "--server-side", "-f", "-")
	require.NoError(t, err, out)
}

// upgrades installs the chart with helm and changes it. The job of the Secrets comes again
// when it was removed after its end, and under another name with another image.
func (a *api) upgrades(t *testing.T) {
	t.Helper()
	helm := func(verb string, args ...string) []string {
		args = append([]string{verb, "upgrades", chart, "--namespace", "more", "--kubeconfig", a.cluster.AdminKubeconfig}, args...)
		out, err := run(t, nil, tool(t, "helm"), args...)
		require.NoError(t, err, out)
		jobs, err := a.admin.BatchV1().Jobs("more").List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=init,app.kubernetes.io/instance=upgrades"})
		require.NoError(t, err)
		var names []string
		for _, j := range jobs.Items {
			names = append(names, j.Name)
		}
		return names
	}
	first := helm("install")
	require.Len(t, first, 1)
	require.Equal(t, first, helm("upgrade"))
	now := metav1.DeletePropagationBackground
	require.NoError(t, a.admin.BatchV1().Jobs("more").Delete(t.Context(), first[0], metav1.DeleteOptions{PropagationPolicy: &now}))
	require.Equal(t, first, helm("upgrade"), "it is made anew")
	second := helm("upgrade", "--set", "image.tag=v2")
	require.Len(t, second, 1)
	require.NotEqual(t, first, second)
	set, err := a.admin.AppsV1().StatefulSets("more").Get(t.Context(), "upgrades-keysteward", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "keysteward:v2", set.Spec.Template.Spec.Containers[0].Image)
	out, err := run(t, nil, tool(t, "helm"), "uninstall", "upgrades", "--namespace", "more", "--kubeconfig", a.cluster.AdminKubeconfig)
	require.NoError(t, err, out)
}

// rights: what the nodes' account may do, by the word of the API server.
func (a *api) rights(t *testing.T) {
	t.Helper()
	objects, _ := rendered(t)
	a.apply(t, objects, "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
	type may struct {
		verb, group, resource, namespace, name string
	}
	tests := map[may]bool{
		{"create", "authentication.k8s.io", "tokenreviews", "", ""}:             true,
		{"watch", "", "pods", "", ""}:                                           true,
		{"list", "", "nodes", "", ""}:                                           true,
		{"create", "", "events", "validators", ""}:                              true,
		{"get", "", "namespaces", "", "kube-system"}:                            true,
		{"watch", "apps", "statefulsets", namespace, "keysteward"}:              true,
		{"patch", "", "pods", namespace, "keysteward-6"}:                        true,
		{"patch", "", "pods", namespace, "other"}:                               false,
		{"patch", "", "pods", "validators", "keysteward-0"}:                     false,
		{"delete", "", "pods", namespace, "keysteward-0"}:                       false,
		{"get", "", "namespaces", "", "validators"}:                             false,
		{"get", "", "secrets", namespace, "keysteward-kek"}:                     false,
		{"get", "", "secrets", namespace, "keysteward-api-ca"}:                  false,
		{"patch", "apps", "statefulsets", namespace, "keysteward"}:              false,
		{"create", "certificates.k8s.io", "certificatesigningrequests", "", ""}: false,
		{"create", "", "pods", namespace, ""}:                                   false,
	}
	for what, want := range tests {
		require.Eventually(t, func() bool {
			return a.allowed(t, "keysteward", authorization.ResourceAttributes{
				Verb: what.verb, Group: what.group, Resource: what.resource, Namespace: what.namespace, Name: what.name,
			}) == want
		}, patience, tick, "%+v: %v", what, want)
	}
}

func (a *api) allowed(t *testing.T, account string, what authorization.ResourceAttributes) bool {
	t.Helper()
	review, err := a.admin.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorization.SubjectAccessReview{
		Spec: authorization.SubjectAccessReviewSpec{
			User: "system:serviceaccount:" + namespace + ":" + account, Groups: []string{"system:serviceaccounts", "system:authenticated"}, ResourceAttributes: &what,
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return review.Status.Allowed
}

// initSecrets runs the program with the very arguments and the very rights of the job.
func (a *api) initSecrets(t *testing.T) {
	t.Helper()
	objects, _ := rendered(t)
	a.apply(t, objects, "ServiceAccount", "Role", "RoleBinding")
	kubeconfig := a.accountKubeconfig(t, "keysteward-init")
	args := slices.Clone(templates(t, objects)[job(t, objects)].Spec.Containers[0].Args)
	args[slices.Index(args, "--kubernetes=in-cluster")] = "--kubernetes=" + kubeconfig
	require.Eventually(t, func() bool {
		return a.allowed(t, "keysteward-init", authorization.ResourceAttributes{Verb: "create", Resource: "secrets", Namespace: namespace})
	}, patience, tick)

	out, err := run(t, nil, keysteward(t), args...)
	require.NoError(t, err, out)
	first := a.secrets(t)
	require.Len(t, first, 7)
	for name, pod := range templates(t, objects) {
		for _, v := range pod.Spec.Volumes {
			if v.Secret != nil {
				require.Contains(t, first, v.Secret.SecretName, name)
			}
		}
	}
	out, err = run(t, nil, keysteward(t), args...)
	require.NoError(t, err, out)
	require.NotContains(t, out, "NOTE")
	require.Equal(t, first, a.secrets(t), "nothing is overwritten")

	_, err = a.admin.CoreV1().Secrets(namespace).Update(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "keysteward-kek"}, Data: map[string][]byte{"kek": []byte("other")},
	}, metav1.UpdateOptions{})
	require.True(t, apierrors.IsInvalid(err), "the key can not be changed by mistake: %v", err)
	for _, what := range []authorization.ResourceAttributes{
		{Verb: "list", Resource: "secrets", Namespace: namespace},
		{Verb: "get", Resource: "secrets", Namespace: namespace, Name: "other"},
		{Verb: "update", Resource: "secrets", Namespace: namespace, Name: "keysteward-kek"},
		{Verb: "create", Resource: "secrets", Namespace: "validators"},
	} {
		require.False(t, a.allowed(t, "keysteward-init", what), "%+v", what)
	}
	require.NoError(t, a.admin.CoreV1().Secrets(namespace).Delete(t.Context(), "keysteward-kek", metav1.DeleteOptions{}))
	out, err = run(t, nil, keysteward(t), args...)
	require.Error(t, err)
	require.Contains(t, out, "the key-encryption key is gone")
}

func (a *api) secrets(t *testing.T) map[string]map[string][]byte {
	t.Helper()
	list, err := a.admin.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	found := map[string]map[string][]byte{}
	for _, s := range list.Items {
		found[s.Name] = s.Data
	}
	return found
}

// accountKubeconfig is a file with a token of a service account of ours.
func (a *api) accountKubeconfig(t *testing.T, account string) string {
	t.Helper()
	life := int64(600)
	request, err := a.admin.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{ExpirationSeconds: &life},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	config := clientcmdapi.NewConfig()
	admin := rest.CopyConfig(a.cluster.Admin)
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: admin.Host, CertificateAuthorityData: admin.CAData, CertificateAuthority: admin.CAFile}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: request.Status.Token}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, path))
	return path
}
