package seal

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// A key that is away is told while the node is still unsealed, with what will come of it.
func TestHealth(t *testing.T) {
	t.Parallel()
	a, b := &moodyKEK{KEK: kekOf(t, keyOf("a"))}, kekOf(t, keyOf("b"))
	s, _ := newSolo(t, a)
	v := NewVault(nil, a, b)
	registry := prometheus.NewRegistry()
	require.NoError(t, v.Register(registry))
	failing := func() float64 {
		families, err := registry.Gather()
		require.NoError(t, err)
		return families[0].GetMetric()[0].GetGauge().GetValue()
	}
	v.identify(t.Context(), testCluster)
	c := v.Check(s.View())
	require.True(t, c.OK, c.Detail)
	require.Contains(t, c.Detail, "1 of 2 open the secrets")
	require.Contains(t, c.Detail, "not added yet: "+idOf(t, b))
	require.Zero(t, failing())

	a.mood(errors.New("the socket is gone"), "")
	v.identify(t.Context(), testCluster)
	c = v.Check(s.View())
	require.False(t, c.OK)
	require.Contains(t, c.Detail, "the socket is gone")
	require.Contains(t, c.Detail, "this node would be sealed after a restart")
	require.InDelta(t, 1, failing(), 0)
	require.Len(t, v.Identities(), 2, "it stays announced")

	a.mood(nil, "")
	v.identify(t.Context(), testCluster)
	require.True(t, v.Check(s.View()).OK)
}
