package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/chaos/answers"
)

// sound is what a node says when nothing is wrong.
func sound() answers.Testimony {
	return answers.Testimony{
		Keys: []wire.Key{
			{Pubkey: "k", State: wire.KeyStateHeld, Fence: 4, Holder: wire.Pod{Pod: "p", PodUID: "u"}},
			{Pubkey: "l", State: wire.KeyStateFree, Fence: 2},
		},
		Allocations: []wire.Allocation{{Pod: "p", PodUID: "u", Fence: 4, State: wire.AllocationStateHeld, Keys: []string{"k"}}},
	}
}

func TestHoldings(t *testing.T) {
	t.Parallel()
	require.Empty(t, holdings(sound()))
	for name, c := range map[string]struct {
		spoil func(*answers.Testimony)
		says  string
	}{
		"two holders": {func(s *answers.Testimony) {
			s.Allocations = append(s.Allocations, wire.Allocation{Pod: "q", Keys: []string{"k"}})
		}, "k is held by p and by q"},
		"free and held":    {func(s *answers.Testimony) { s.Keys[0].State = wire.KeyStateFree }, "k is free"},
		"held by nobody":   {func(s *answers.Testimony) { s.Keys[1].State = wire.KeyStateHeld }, "l is held"},
		"another holder":   {func(s *answers.Testimony) { s.Keys[0].Holder.PodUID = "v" }, "k is held"},
		"rests, says one":  {func(s *answers.Testimony) { s.Keys[0].State = wire.KeyStateResting }, "k is resting"},
		"fence of the key": {func(s *answers.Testimony) { s.Keys[0].Fence = 5 }, "k has fence 5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said := sound()
			c.spoil(&said)
			require.NotEmpty(t, holdings(said))
			require.Contains(t, holdings(said)[0], c.says)
		})
	}
}

func TestDifference(t *testing.T) {
	t.Parallel()
	require.Empty(t, difference(sound(), sound()))
	other := sound()
	other.Keys[1].Fence = 3
	require.Contains(t, difference(sound(), other), "keys: ")
	other = sound()
	other.Allocations = nil
	require.Contains(t, difference(sound(), other), "1 and 0 allocations")
}

func TestSettlersKeepTheirKeys(t *testing.T) {
	t.Parallel()
	s := settlers{all: []*settler{{name: "a", got: []string{"k"}}, {name: "b"}}}
	require.Empty(t, s.violations(map[string][]string{"a": {"k"}, "b": {"l"}}), "who does not know yet may have keys")
	require.Equal(t, 1, s.given())
	require.Len(t, s.violations(map[string][]string{"a": {"l"}}), 1)
	require.Len(t, s.violations(nil), 1)
}
