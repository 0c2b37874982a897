package deploy

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// scales upgrades a release to other numbers of nodes: what would leave no majority behind
// is refused in words, and the set stays as it was.
func (a *api) scales(t *testing.T) {
	t.Helper()
	const release, name = "scales", "scales-keysteward"
	helm := func(verb, set string, more ...string) (string, error) {
		args := append([]string{verb, release, chart, "--namespace", "more", "--kubeconfig", a.cluster.AdminKubeconfig, "--set", set}, more...)
		return run(t, nil, tool(t, "helm"), args...)
	}
	replicas := func() int {
		set, err := a.admin.AppsV1().StatefulSets("more").Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		return int(*set.Spec.Replicas)
	}
	out, err := helm("install", "replicas=5,founders=3")
	require.NoError(t, err, out)
	for _, step := range []struct {
		set  string
		says string // empty: done
		want int
	}{
		{"replicas=1,founders=3", "replicas 1, where 5 pods run", 5},
		{"replicas=7,founders=3", "", 7},
		{"replicas=3,founders=3", "From 7 go to 5 at the least", 7},
		{"replicas=1,founders=3", "From 7 go to 5 at the least", 7},
		{"replicas=7,founders=7", "founders 7: never change it", 7},
		{"replicas=7,founders=3,clusterDomain=other.local", "nor clusterDomain", 7},
		{"replicas=7,founders=3,extraArgs={--heartbeat-timeout=2s}", "", 7},
		{"replicas=5,founders=3", "", 5},
		{"replicas=3,founders=3", "", 3},
		{"replicas=1,founders=3", "From 3 go to 3 at the least", 3},
	} {
		out, err := helm("upgrade", step.set)
		if step.says == "" {
			require.NoError(t, err, "%s: %s", step.set, out)
		} else {
			require.Error(t, err, step.set)
			require.Contains(t, out, step.says)
		}
		require.Equal(t, step.want, replicas(), step.set)
	}

	// What kubectl has set is what counts, not what values said before.
	scale := func(n int) {
		out, err := a.kubectl(t, "", "scale", "statefulset", name, "-n", "more", "--replicas="+strconv.Itoa(n))
		require.NoError(t, err, out)
	}
	scale(7)
	out, err = helm("upgrade", "replicas=3,founders=3")
	require.ErrorContains(t, err, "exit status")
	require.Contains(t, out, "replicas 3, where 7 pods run")
	scale(5)
	out, err = helm("upgrade", "replicas=5,founders=3,extraArgs={--heartbeat-timeout=2s}")
	require.NoError(t, err, out)
	require.Equal(t, 5, replicas())
	scale(3)
	out, err = helm("upgrade", "replicas=5,founders=3")
	require.Error(t, err)
	require.Contains(t, out, ".spec.replicas", "helm does not take over what kubectl has set, unless it is told to")
	require.Equal(t, 3, replicas())
	out, err = helm("upgrade", "replicas=5,founders=3", "--force-conflicts")
	require.NoError(t, err, out)
	require.Equal(t, 5, replicas())
}
