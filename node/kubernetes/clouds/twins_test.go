package clouds

import (
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// One Kubernetes is registered twice: what is wanted under one of the names is neither
// swept nor terminated under the other.
func testTwins(t *testing.T, s *scene) {
	t.Helper()
	s.register(clusterName(2), s.kube[0].AdminKubeconfig, false)
	s.kube = append(s.kube, s.kube[0])
	d, _ := s.lead(sweeping)
	shared := func(c *fsmpb.LogicalCloud) { c.Namespace = s.namespace("shared") }
	s.cloud("c", []int{0}, shared)
	s.cloud("d", []int{2}, shared)
	s.instantiate("c", "d")
	s.awaitUp("c", "d")
	namespace, err := s.admin(0).CoreV1().Namespaces().Get(t.Context(), s.namespace("shared"), metav1.GetOptions{})
	require.NoError(t, err)
	before := s.holdings(0)
	s.awaitSweeps(d, "d", 10)
	require.True(t, slices.Equal(before, s.holdings(0)), "%v\n%v", before, s.holdings(0))

	s.terminate("c")
	s.awaitTerminated("c")
	s.awaitSweeps(d, "d", 10)
	now, err := s.admin(0).CoreV1().Namespaces().Get(t.Context(), s.namespace("shared"), metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, namespace.UID, now.UID)
	require.Nil(t, now.DeletionTimestamp)
	s.requireMay(s.user("d", 2), "d", s.namespace("shared"))
	s.terminate("d")
	s.awaitTerminated("d")
	s.requireNothing(0)
}

// awaitSweeps waits for so many more sweeps of all workers together.
func (s *scene) awaitSweeps(d *Duty, cloud string, n float64) {
	s.t.Helper()
	done := func() float64 { return testutil.ToFloat64(d.metrics.sweeps.WithLabelValues("done")) }
	from := done()
	s.eventually(func() bool { return done() >= from+n }, cloud, "there should be more sweeps")
}
