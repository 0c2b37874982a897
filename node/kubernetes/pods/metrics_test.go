package pods

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// gaugeOf is the value of a gauge with that label, or the sum of all with any; -1 if there is none.
func gaugeOf(t *testing.T, w *Watcher, name, label string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(w.metrics))
	families, err := registry.Gather()
	require.NoError(t, err)
	sum, found := 0.0, false
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				sum, found = sum+m.GetGauge().GetValue(), true
			}
		}
	}
	if !found {
		return -1
	}
	return sum
}

// TestKeysRestingWithoutProof counts keys that rest until somebody proves something: not
// imported ones that nobody held, and none whose holder is proven to have ended.
func TestKeysRestingWithoutProof(t *testing.T) {
	t.Parallel()
	s := newState(t, 5)
	w := still(t, s, nil)
	s.imports(3) // they rest from before they were imported
	proven, rests := fat(1), fat(2)
	s.allocate(proven, 2)
	s.allocate(rests, 3)
	release := func(i int, proof *fsmpb.Proof) {
		a := s.allocation(fat(i))
		s.do(&fsmpb.Command{Body: &fsmpb.Command_Release{Release: &fsmpb.Release{
			Namespace: a.GetPod().GetNamespace(), Pod: a.GetPod().GetName(), Fence: a.GetFence(), Code: testimony.CodeReleased, Proof: proof, WaitMs: 60_000,
		}}})
	}
	require.InDelta(t, -1, gaugeOf(t, w, "keysteward_keys_resting", ""), 0)
	w.metrics.begin(s.begin())
	require.InDelta(t, -1, gaugeOf(t, w, "keysteward_keys_resting", ""), 0, "nothing rests from a pod")
	release(1, &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: "op"})
	require.InDelta(t, -1, gaugeOf(t, w, "keysteward_keys_resting", ""), 0, "there is proof")
	require.InDelta(t, 2, gaugeOf(t, w, "keysteward_keys_proven", "operator"), 0)
	release(2, nil)
	require.InDelta(t, 3, gaugeOf(t, w, "keysteward_keys_resting", ""), 0)
	require.InDelta(t, 3, gaugeOf(t, w, "keysteward_keys_resting", testimony.CodeReleased), 0)
}
