package clouds

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	authentication "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

// admin is a client of the scene's cluster that may do everything.
func (s *scene) admin(k int) *kubernetes.Clientset {
	s.t.Helper()
	c, err := kubernetes.NewForConfig(s.kube[k].Admin)
	require.NoError(s.t, err)
	return c
}

// user is a client with the certificate and key of a cloud, which is what a kubeconfig holds.
func (s *scene) user(cloud string, k int) *kubernetes.Clientset {
	s.t.Helper()
	der, err := s.secrets.CloudKey(s.t.Context(), s.get(cloud))
	require.NoError(s.t, err)
	return s.userWith(k, s.row(cloud, k).GetPem(), der)
}

func (s *scene) userWith(k int, pem string, der []byte) *kubernetes.Clientset {
	s.t.Helper()
	key, err := certificate.ParseKey(der)
	require.NoError(s.t, err)
	config := rest.AnonymousClientConfig(s.kube[k].Admin)
	config.CertData, config.KeyData, config.QPS = []byte(pem), key.PEM(), -1
	c, err := kubernetes.NewForConfig(config)
	require.NoError(s.t, err)
	return c
}

// requireUser sees who a client is taken for.
func requireUser(t *testing.T, c *kubernetes.Clientset, name string) {
	t.Helper()
	review, err := c.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authentication.SelfSubjectReview{}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Equal(t, name, review.Status.UserInfo.Username)
	require.Equal(t, []string{"system:authenticated"}, review.Status.UserInfo.Groups)
}

func mayList(ctx context.Context, c *kubernetes.Clientset, namespace string) bool {
	_, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	return err == nil
}

// requireMay waits until a user may list pods in a namespace: the API server hears of
// bindings a moment later.
func (s *scene) requireMay(c *kubernetes.Clientset, cloud, namespace string) {
	s.t.Helper()
	s.eventually(func() bool { return mayList(s.t.Context(), c, namespace) }, cloud, "its user should be let into %s", namespace)
}

func (s *scene) requireMayNot(c *kubernetes.Clientset, namespace string) {
	s.t.Helper()
	_, err := c.CoreV1().Pods(namespace).List(s.t.Context(), metav1.ListOptions{})
	require.True(s.t, apierrors.IsForbidden(err), "%v", err)
}

// holdings are the names of everything of the scene in a cluster, by kind, namespaces
// that are being deleted aside.
func (s *scene) holdings(k int) []string {
	s.t.Helper()
	var list []string
	c := s.connection(k)
	found, err := c.look(s.t.Context(), s.id())
	require.NoError(s.t, err)
	for id := range found.pieces {
		list = append(list, id.String())
	}
	for _, r := range found.requests {
		list = append(list, "request "+r.Name)
	}
	for _, n := range found.namespaces {
		if n.DeletionTimestamp == nil {
			list = append(list, "namespace "+n.Name)
		}
	}
	slices.Sort(list)
	return list
}

func (s *scene) connection(k int) *connection {
	s.t.Helper()
	text, err := s.secrets.Kubeconfig(s.t.Context(), s.View().KubernetesCluster(provider, clusterName(k)))
	require.NoError(s.t, err)
	c, err := connect(text, s.id(), nil)
	require.NoError(s.t, err)
	s.t.Cleanup(c.close)
	return c
}

// requireNothing waits until nothing of the scene is in a cluster.
func (s *scene) requireNothing(k int) {
	s.t.Helper()
	var left []string
	require.Eventually(s.t, func() bool { left = s.holdings(k); return len(left) == 0 }, patience, 10*glance, "%s", &left)
}

// requests are the names of the scene's requests in a cluster.
func (s *scene) requests(k int) []string {
	s.t.Helper()
	var names []string
	for _, name := range s.holdings(k) {
		if name, found := strings.CutPrefix(name, "request "); found {
			names = append(names, name)
		}
	}
	return names
}
