package deploy

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// variants of the example of validators, by the folder below validators.
var variants = []string{".", "lighthouse"}

// kustomized is what kubectl makes of a folder.
func kustomized(t *testing.T, path ...string) (objects []unstructured.Unstructured, text string) {
	t.Helper()
	text, err := run(t, nil, tool(t, "kubectl"), "kustomize", filepath.Join(path...))
	require.NoError(t, err, text)
	return parse(t, text), text
}

// The order in which a validator's pod begins is what keeps its keys from being signed
// with in two places.
func TestValidators(t *testing.T) {
	t.Parallel()
	for _, variant := range variants {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			objects, _ := kustomized(t, "validators", variant)
			spec := only[appsv1.StatefulSet](t, objects, "StatefulSet").Spec.Template.Spec
			var names []string
			for _, c := range spec.InitContainers {
				names = append(names, c.Name)
			}
			require.Equal(t, "keys", names[0])
			require.Equal(t, "hold", names[len(names)-1], "the lease is renewed last before the validator begins")
			hold := spec.InitContainers[len(names)-1]
			require.Equal(t, corev1.ContainerRestartPolicyAlways, *hold.RestartPolicy, "a native sidecar")
			require.NotNil(t, hold.StartupProbe, "the validator waits for it")
			require.True(t, *spec.ShareProcessNamespace)
			require.Len(t, spec.Containers, 1)
			validator := spec.Containers[0]
			require.Equal(t, hold.Ports[0].ContainerPort, validator.LivenessProbe.HTTPGet.Port.IntVal, "Kubernetes ends the validator when the sidecar is gone")
			require.Equal(t, "/alive", hold.LivenessProbe.HTTPGet.Path, "a sidecar whose lease is over runs on")
			require.Equal(t, "/livez", hold.StartupProbe.HTTPGet.Path)
			ask := validator.LivenessProbe
			require.Equal(t, "/livez", ask.HTTPGet.Path)
			require.Less(t, int64(ask.PeriodSeconds*ask.FailureThreshold)+*ask.TerminationGracePeriodSeconds, int64(90), "half of the shortest lease")
			for _, c := range containers(spec) {
				require.Nil(t, c.SecurityContext.RunAsUser, "%s: all are of one user, so that the sidecar may end them", c.Name)
			}
			for _, v := range spec.Volumes {
				if v.EmptyDir != nil {
					require.Equal(t, corev1.StorageMediumMemory, v.EmptyDir.Medium, v.Name)
				}
			}
			for _, m := range validator.VolumeMounts {
				require.Equal(t, "keys", m.Name, "neither the token nor the lease's deadline is the validator's business")
			}
			// A file of slashing protection that nobody imports would be a lie to the nodes.
			written := slices.Contains(spec.InitContainers[0].Args, "--slashing-protection=/keys/slashing-protection.json")
			require.Equal(t, written, slices.Contains(names, "slashing-protection"))
			require.Equal(t, variant == "lighthouse", written)
			requireFlags(t, objects)
		})
	}
}

// The chart lets those pods in that the example has.
func TestTheChartKnowsTheValidators(t *testing.T) {
	t.Parallel()
	chart, _ := rendered(t)
	objects, _ := kustomized(t, "validators")
	account := only[corev1.ServiceAccount](t, objects, "ServiceAccount")
	spec := only[appsv1.StatefulSet](t, objects, "StatefulSet").Spec.Template.Spec
	settings := only[corev1.ConfigMap](t, chart, "ConfigMap").Data
	require.Equal(t, account.Namespace+"/"+account.Name+"=4", settings["KEYSTEWARD_PODS"])
	require.Equal(t, account.Name, spec.ServiceAccountName)
	require.Contains(t, spec.InitContainers[0].Args, "--keys=4")
	for _, v := range spec.Volumes {
		if v.Projected != nil {
			require.Equal(t, settings["KEYSTEWARD_POD_TOKEN_AUDIENCE"], v.Projected.Sources[0].ServiceAccountToken.Audience)
		}
	}
	certificate := templates(t, chart)[job(t, chart)].Spec.Containers[0].Args
	require.Contains(t, spec.InitContainers[0].Env, corev1.EnvVar{Name: "KEYSTEWARD_SERVER", Value: "https://keysteward.keysteward.svc:8200"})
	require.True(t, slices.ContainsFunc(certificate, func(arg string) bool {
		return slices.Contains(splitNames(arg), "keysteward.keysteward.svc")
	}), "the certificate is for the name under which pods call")
}
