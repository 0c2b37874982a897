package fsm

import (
	"maps"
	"slices"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// imported is what the ledger knows of a key that was made, or paid for, elsewhere.
type imported struct {
	sealed    string
	adopted   bool
	confirmed bool
	deadline  uint64
}

func (l *ledger) importKeys(t rapid.TB, c *fsmpb.ImportKeys, res Result, before *world) {
	t.Helper()
	fresh, ok := res.Value.(Imported)
	require.True(t, ok)
	require.Len(t, fresh, len(c.GetKeys()))
	for i, k := range c.GetKeys() {
		known := before.keys[string(k.GetPubkey())] != nil || l.imports[string(k.GetPubkey())] != nil
		require.Equal(t, !known, fresh[i], "key %x", k.GetPubkey())
		if !known {
			l.imports[string(k.GetPubkey())] = &imported{sealed: string(k.GetSealed())}
		}
	}
}

func (l *ledger) confirmStopped(t rapid.TB, c *fsmpb.ConfirmStopped, before *world) {
	t.Helper()
	k := l.imports[string(c.GetPubkey())]
	require.NotNil(t, k, "confirmed what was never imported")
	require.Equal(t, fsmpb.Proof_KIND_OPERATOR, c.GetProof().GetKind(), "only an operator can know")
	require.Equal(t, before.keys[string(c.GetPubkey())].GetFence(), c.GetFence(), "confirmed for a key that has moved on")
	require.Empty(t, before.holders(t)[string(c.GetPubkey())], "confirmed while a pod has the key")
	if !k.confirmed {
		k.confirmed, k.deadline = true, l.clock+min(c.GetWaitMs(), 1<<50)
	}
}

// checkImports: an imported key rests until an operator's word and the wait after
// it, and never for that reason again; no stake is planned for it.
func (l *ledger) checkImports(t rapid.TB, before, after *world) {
	t.Helper()
	for pubkey, k := range after.keys {
		known := l.imports[pubkey]
		require.Equal(t, known != nil && !known.adopted, k.GetImported(), "key %x", pubkey)
		require.Equal(t, known != nil && known.adopted, k.GetAdopted() != nil, "key %x", pubkey)
		if known == nil {
			continue
		}
		require.Equal(t, known.sealed, string(k.GetSealed()), "the secret of key %x changed", pubkey)
		require.NotContains(t, after.deposits, pubkey, "a stake for a key that has one")
		if old := before.keys[pubkey]; old == nil || known.adopted && old.GetAdopted() == nil {
			require.Greater(t, k.GetFence(), before.meta.GetFence(), "a new key at an old fence")
		}
		resting := k.GetState() == fsmpb.KeyState_KEY_STATE_RESTING && k.GetHolder() == nil
		waits := !known.confirmed || l.clock < known.deadline
		require.Equal(t, waits && l.retired[pubkey] == "", resting, "key %x is %v of %v", pubkey, k.GetState(), k.GetHolder())
	}
}

// drawImport brings keys that are new, are known, or will be derived one day.
func drawImport(t *rapid.T, w *world) proto.Message {
	next := w.meta.GetNextIndex()
	c := &fsmpb.ImportKeys{}
	for range rapid.IntRange(0, 3).Draw(t, "n") {
		index := rapid.SampledFrom([]uint64{0, next, next, next + 1, next + 2, 1 << 20, 1<<20 + 1, 1<<20 + 2}).Draw(t, "import")
		k := &fsmpb.ImportedKey{Pubkey: pubkey(index), Sealed: under(max(w.meta.GetSeal().GetCurrentTerm(), 1), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "sealed"))}
		switch {
		case oneIn(t, 20, "short"):
			k.Pubkey = k.GetPubkey()[:1]
		case oneIn(t, 20, "open"):
			k.Sealed = nil
		}
		c.Keys = append(c.Keys, k)
	}
	return c
}

// drawStopped mostly confirms a key that rests since its import.
func drawStopped(t *rapid.T, w *world) proto.Message {
	var keys [][]byte
	for _, pubkey := range slices.Sorted(maps.Keys(w.keys)) {
		if PaidElsewhere(w.keys[pubkey]) {
			keys = append(keys, []byte(pubkey))
		}
	}
	if len(keys) == 0 || oneIn(t, 8, "other") {
		keys = [][]byte{pubkey(0), pubkey(1 << 21), nil}
	}
	key := rapid.SampledFrom(keys).Draw(t, "key")
	c := &fsmpb.ConfirmStopped{
		Pubkey: key, Fence: w.keys[string(key)].GetFence(), Proof: proof(),
		WaitMs: rapid.SampledFrom([]uint64{0, 0, 100, 60_000, 1 << 63}).Draw(t, "wait"),
	}
	if oneIn(t, 8, "otherFence") {
		c.Fence += rapid.SampledFrom([]uint64{1, ^uint64(0)}).Draw(t, "fence")
	}
	if kind := rapid.SampledFrom([]int32{2, 2, 2, 2, 0, 1, 3, 6}).Draw(t, "proof"); kind != 2 {
		c.Proof = &fsmpb.Proof{Kind: fsmpb.Proof_Kind(kind), By: "b"}
	}
	return c
}
