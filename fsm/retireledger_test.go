package fsm

import (
	"maps"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// retire follows what was taken out of use: a pod all of whose keys were retired
// holds nothing any more.
func (l *ledger) retire(t rapid.TB, c *fsmpb.RetireKeys, before *world) {
	t.Helper()
	for _, pubkey := range c.GetPubkeys() {
		k := before.keys[string(pubkey)]
		require.NotNil(t, k, "a key that is none was retired")
		if c.GetReason() == RetiredOperator && !c.GetForce() {
			require.Nil(t, k.GetHolder(), "a key in use was retired without force")
			if p := l.deposits[string(pubkey)]; p != nil && l.retired[string(pubkey)] == "" {
				require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_FINAL, p.state, "a deposit was abandoned without force")
			}
			if i := l.imports[string(pubkey)]; i != nil && l.retired[string(pubkey)] == "" {
				require.True(t, i.confirmed && l.clock >= i.deadline, "a key that rests since its import was retired without force")
			}
		}
		l.end(string(pubkey), c.GetReason())
	}
	for name, a := range before.allocations {
		if len(l.alive(a)) == 0 {
			delete(l.pods, name)
		}
	}
}

// end retires a key; the first reason stays.
func (l *ledger) end(pubkey, reason string) {
	if l.retired[pubkey] == "" {
		l.retired[pubkey] = reason
	}
}

// alive are the keys of an allocation that are not retired.
func (l *ledger) alive(a *fsmpb.Allocation) [][]byte {
	return slices.DeleteFunc(slices.Clone(a.GetKeys()), func(k []byte) bool { return l.retired[string(k)] != "" })
}

// checkRetired: a retired key stays so, and nothing lists it ever again.
func (l *ledger) checkRetired(t rapid.TB, before, after *world) {
	t.Helper()
	for pubkey, k := range after.keys {
		require.Equal(t, l.retired[pubkey], k.GetRetiredReason())
		require.Equal(t, l.retired[pubkey] != "", k.GetState() == fsmpb.KeyState_KEY_STATE_RETIRED, "key %x", pubkey)
		require.Equal(t, l.seen[pubkey], k.GetValidatorStatus())
		if l.retired[pubkey] == "" {
			continue
		}
		require.Nil(t, k.GetHolder())
		require.Empty(t, k.GetReservedBy())
		require.Equal(t, l.deposits[pubkey] != nil, after.deposits[pubkey] != nil, "the account of what was signed is kept, and nothing else")
		if was := before.deposits[pubkey]; was.GetState() == fsmpb.DepositState_DEPOSIT_STATE_PLANNED && before.keys[pubkey].GetRetiredReason() != "" {
			require.Equal(t, was.GetState(), after.deposits[pubkey].GetState(), "a retired key was paid for")
		}
	}
}

// drawRetire retires a few of the oldest keys, which are mostly in use.
func drawRetire(t *rapid.T, w *world) proto.Message {
	c := &fsmpb.RetireKeys{
		Reason: rapid.SampledFrom([]string{RetiredExited, RetiredSlashed, RetiredWithdrawn, RetiredOperator, RetiredOperator}).Draw(t, "reason"),
		Detail: "d", Force: rapid.Bool().Draw(t, "force"),
	}
	all := slices.Sorted(maps.Keys(w.keys))
	if under := w.depositKeys(fsmpb.DepositState_DEPOSIT_STATE_SENT, fsmpb.DepositState_DEPOSIT_STATE_MINED); len(under) > 0 && oneIn(t, 3, "underWay") {
		all = nil // those whose stake is on its way, which goes on
		for _, k := range under {
			all = append(all, string(k))
		}
	}
	for range rapid.SampledFrom([]int{0, 1, 1, 2, 5}).Draw(t, "n") {
		if len(all) > 0 {
			c.Pubkeys = append(c.Pubkeys, []byte(rapid.SampledFrom(all).Draw(t, "key")))
		}
	}
	switch {
	case oneIn(t, 12, "odd"):
		c.Reason = "bored"
	case oneIn(t, 12, "unknown"):
		c.Pubkeys = append(c.Pubkeys, rapid.SampledFrom([][]byte{nil, pubkey(1 << 20)}).Draw(t, "stranger"))
	case oneIn(t, 12, "all"):
		for _, k := range all {
			c.Pubkeys = append(c.Pubkeys, []byte(k))
		}
	}
	return c
}

func drawValidators(t *rapid.T, w *world) proto.Message {
	c := &fsmpb.ObserveValidators{}
	keys := append(slices.Sorted(maps.Keys(w.keys)), string(pubkey(1<<20)), "")
	for range rapid.IntRange(0, 3).Draw(t, "n") {
		c.Validators = append(c.Validators, &fsmpb.Validator{
			Pubkey: []byte(rapid.SampledFrom(keys).Draw(t, "key")),
			Status: rapid.SampledFrom([]string{"", "active_ongoing", "exited_slashed"}).Draw(t, "status"),
			Index:  rapid.Uint64().Draw(t, "index"), EffectiveBalanceGwei: 32e9,
		})
	}
	if oneIn(t, 12, "long") {
		c.Validators = append(c.Validators, &fsmpb.Validator{Status: strings.Repeat("s", maxStatus+1)})
	}
	return c
}
