package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/chaos/answers"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

func pubkey(i int) validator.PublicKey { return validator.PublicKey{byte(i + 1)} }

// balanced is what there is when two pods have a key and two keys, and nothing is wrong.
func balanced() (*answers.Testimony, []*pod) {
	said := &answers.Testimony{}
	pods := []*pod{
		{name: "a", keys: 1, got: []validator.PublicKey{pubkey(0)}},
		{name: "b", keys: 2, got: []validator.PublicKey{pubkey(1), pubkey(2)}},
	}
	for _, p := range pods {
		var held []string
		for _, k := range p.got {
			held = append(held, k.String())
			said.Deposits = append(said.Deposits, wire.Deposit{Pubkey: k.String()})
			said.Keys = append(said.Keys, wire.Key{Pubkey: k.String(), State: wire.KeyStateHeld})
		}
		said.Allocations = append(said.Allocations, wire.Allocation{Pod: p.name, Keys: held})
	}
	return said, pods
}

func TestNothingIsWrong(t *testing.T) {
	t.Parallel()
	said, pods := balanced()
	require.Empty(t, holdings(*said, pods))
}

func TestHoldings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(said *answers.Testimony, pods []*pod)
		says  string
	}{
		"two holders": {func(said *answers.Testimony, _ []*pod) {
			said.Allocations[0].Keys = said.Allocations[1].Keys
		}, "is held by a and by b"},
		"unanswered": {func(_ *answers.Testimony, pods []*pod) {
			pods[0].err = errors.New("waits for godot")
		}, "a asked for 1 keys and has none: waits for godot"},
		"too few": {func(_ *answers.Testimony, pods []*pod) {
			pods[1].got = pods[1].got[:1]
		}, "b asked for 2 keys and got 1"},
		"other keys": {func(_ *answers.Testimony, pods []*pod) {
			pods[0].got = []validator.PublicKey{pubkey(1)}
		}, "a got [" + pubkey(1).String() + "], the state says"},
		"keys for nobody": {func(said *answers.Testimony, _ []*pod) {
			said.Keys = append(said.Keys, wire.Key{Pubkey: "0x99", State: wire.KeyStateFree})
		}, "pods asked for 3 keys; there are 4"},
		"not held": {func(said *answers.Testimony, _ []*pod) {
			said.Keys[0].State = wire.KeyStateFree
		}, "is free, held by"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, pods := balanced()
			c.spoil(said, pods)
			require.Contains(t, fmt.Sprint(holdings(*said, pods)), c.says)
		})
	}
}

func TestSummaryEnds(t *testing.T) {
	t.Parallel()
	require.Contains(t, summarize(make([]string, 100)), "and 88 more")
	require.NotContains(t, summarize([]string{"one"}), "more")
}
