package fsm

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func importOf(keys ...[]byte) *fsmpb.ImportKeys {
	c := &fsmpb.ImportKeys{}
	for _, k := range keys {
		c.Keys = append(c.Keys, &fsmpb.ImportedKey{Pubkey: k, Sealed: append(under(1, "sealed "), k[0])})
	}
	return c
}

// bring imports keys and returns which of them were new.
func (r *replica) bring(keys ...[]byte) Imported {
	r.t.Helper()
	fresh, ok := r.ok(importOf(keys...)).(Imported)
	require.True(r.t, ok)
	return fresh
}

// confirm gives an operator's word for an imported key.
func (r *replica) confirm(pubkey []byte, wait uint64) {
	r.t.Helper()
	r.ok(&fsmpb.ConfirmStopped{Pubkey: pubkey, Fence: r.View().Key(pubkey).GetFence(), Proof: proof(), WaitMs: wait})
}

func TestImportedKeysRestForever(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	keys := pubkeys(100, 2)
	require.Equal(t, Imported{true, true}, r.bring(keys...))
	r.ask("a", "1", 1)
	for range 100 {
		r.ok(&fsmpb.Tick{ElapsedMs: MaxTickMS})
	}
	require.Equal(t, 2, r.keysIn(fsmpb.KeyState_KEY_STATE_RESTING))
	require.Equal(t, 1, r.View().Shortfall(), "nobody gets a key whose validator may run")
	k := r.View().Key(keys[1])
	require.True(t, k.GetImported())
	require.Equal(t, append(under(1, "sealed "), keys[1][0]), k.GetSealed())
	require.NotEqual(t, k.GetFence(), k.GetProofFence())
	require.Nil(t, r.View().Deposit(keys[0]))
}

func TestConfirmedKeysAreHandedOutWithoutADeposit(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	keys := pubkeys(100, 2)
	r.bring(keys...)
	r.ask("a", "1", 1)
	r.confirm(keys[1], 0)
	require.Equal(t, [][]byte{keys[1]}, r.View().Allocation("ns", "a").GetKeys())
	require.Empty(t, r.toSign(), "the stake was paid elsewhere")

	// From now on it is a key like others: it rests with its pod, and only the
	// release of that ends it.
	r.free("a", nil, 0)
	k := r.View().Key(keys[1])
	r.refused(NotFound, &fsmpb.ConfirmStopped{Pubkey: keys[1], Fence: k.GetFence(), Proof: proof()})
	require.Equal(t, "1", r.holder(keys[1]))
	r.free("a", proof(), 0)
	require.Equal(t, [][]byte{keys[1]}, r.ask("b", "1", 1).Allocation.GetKeys())
	require.NotEmpty(t, r.View().Key(keys[1]).GetSealed(), "the secret stays")
	require.Equal(t, 1, r.keysIn(fsmpb.KeyState_KEY_STATE_RESTING), "the other key still rests")
}

func TestConfirmedKeysWaitInClusterTime(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	keys := pubkeys(100, 3)
	r.bring(keys...)
	r.ok(&fsmpb.Tick{ElapsedMs: 10})
	r.confirm(keys[0], 100)
	r.confirm(keys[1], 50)
	r.ok(&fsmpb.Tick{ElapsedMs: 10})
	r.confirm(keys[0], 0) // a second word neither shortens the wait nor starts it anew
	r.confirm(keys[2], 1<<64-1)
	for _, step := range []struct {
		ms   uint64
		free int
	}{{0, 0}, {39, 0}, {1, 1}, {49, 1}, {1, 2}, {MaxTickMS, 2}} {
		r.ok(&fsmpb.Tick{ElapsedMs: step.ms})
		require.Equal(t, step.free, r.keysIn(fsmpb.KeyState_KEY_STATE_FREE), "at %d ms", r.View().Meta().GetClusterTimeMs())
	}
	k := r.View().Key(keys[0])
	require.Equal(t, k.GetFence(), k.GetProofFence())
	require.Nil(t, k.GetProof())
	r.confirm(keys[0], 100) // once more says nothing new
	require.Equal(t, fsmpb.KeyState_KEY_STATE_FREE, r.View().Key(keys[0]).GetState())
}

func TestOneTickFreesManyImportedKeysInOrder(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	keys := pubkeys(100, 5)
	r.bring(keys...)
	for i := range keys {
		r.confirm(keys[len(keys)-1-i], 10)
	}
	r.ask("a", "1", 2)
	r.ok(&fsmpb.Tick{ElapsedMs: 10})
	require.Equal(t, keys[:2], r.View().Allocation("ns", "a").GetKeys(), "the order of the import")
	require.Equal(t, 3, r.keysIn(fsmpb.KeyState_KEY_STATE_FREE))
}

func TestConfirmStoppedRefused(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	derived := r.stock(1)[0]
	r.ask("a", "1", 1)
	r.free("a", nil, 0)
	key := pubkey(100)
	r.bring(key)
	fence := r.View().Key(key).GetFence()
	for name, x := range map[string]struct {
		code Code
		c    *fsmpb.ConfirmStopped
	}{
		"empty":          {Invalid, &fsmpb.ConfirmStopped{}},
		"no proof":       {Invalid, &fsmpb.ConfirmStopped{Pubkey: key, Fence: fence}},
		"empty proof":    {Invalid, &fsmpb.ConfirmStopped{Pubkey: key, Fence: fence, Proof: &fsmpb.Proof{}}},
		"caller's word":  {Invalid, &fsmpb.ConfirmStopped{Pubkey: key, Fence: fence, Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_CALLER}}},
		"pod terminated": {Invalid, &fsmpb.ConfirmStopped{Pubkey: key, Fence: fence, Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_POD_TERMINATED}}},
		"no fence":       {StaleFence, &fsmpb.ConfirmStopped{Pubkey: key, Proof: proof()}},
		"future fence":   {StaleFence, &fsmpb.ConfirmStopped{Pubkey: key, Fence: fence + 1, Proof: proof()}},
		"unknown key":    {NotFound, &fsmpb.ConfirmStopped{Pubkey: pubkey(101), Fence: fence, Proof: proof()}},
		"no key":         {NotFound, &fsmpb.ConfirmStopped{Fence: fence, Proof: proof()}},
		"derived key":    {NotFound, &fsmpb.ConfirmStopped{Pubkey: derived, Fence: r.View().Key(derived).GetFence(), Proof: proof()}},
	} {
		t.Log(name)
		r.refused(x.code, x.c)
	}
}

func TestImportRefused(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	good := &fsmpb.ImportedKey{Pubkey: pubkey(1), Sealed: under(1, "s")}
	for name, bad := range map[string]*fsmpb.ImportedKey{
		"empty":        {},
		"short key":    {Pubkey: pubkey(1)[:47], Sealed: under(1, "s")},
		"no secret":    {Pubkey: pubkey(1)},
		"large secret": {Pubkey: pubkey(1), Sealed: make([]byte, maxSealedKey+1)},
	} {
		t.Log(name)
		r.refused(Invalid, &fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{good, bad}})
	}
	require.Empty(t, r.bring())
}

func TestImportOfKnownKeysChangesNothing(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.generate(2)
	old := r.stock(1)[0]
	keys := [][]byte{pubkey(100), pubkey(1), pubkey(100), pubkey(101), old}
	require.Equal(t, Imported{true, false, false, true, false}, r.bring(keys...))
	before := digest(r.View())
	again := importOf(keys...)
	again.Keys[0].Sealed = under(1, "sealed by another hand")
	require.Equal(t, Imported{false, false, false, false, false}, r.ok(again))
	require.Equal(t, before, digest(r.View()))
	require.Equal(t, fsmpb.KeyState_KEY_STATE_FREE, r.View().Key(old).GetState(), "a key of the seed stays what it is")
	require.False(t, r.View().Key(old).GetImported())

	r.confirm(pubkey(100), 0)
	r.bring(pubkey(100))
	require.Equal(t, fsmpb.KeyState_KEY_STATE_FREE, r.View().Key(pubkey(100)).GetState(), "a repeat brings no key to rest")
}

// Somebody imports a key that the seed would have made one day.
func TestGenerationPassesImportedKeysOver(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.bring(pubkey(0), pubkey(2))
	sealed := r.View().Key(pubkey(2)).GetSealed()
	r.ask("a", "1", 2)
	r.ok(&fsmpb.GenerateKeys{Pubkeys: pubkeys(0, 3)})
	require.EqualValues(t, 3, r.View().Meta().GetNextIndex())
	require.Equal(t, 1, r.View().Shortfall())
	require.EqualValues(t, 1, r.View().Key(pubkey(1)).GetIndex())
	k := r.View().Key(pubkey(2))
	require.True(t, k.GetImported())
	require.Zero(t, k.GetIndex())
	require.True(t, bytes.Equal(sealed, k.GetSealed()))
	require.Equal(t, fsmpb.KeyState_KEY_STATE_RESTING, k.GetState())
	r.refused(StaleIndex, &fsmpb.GenerateKeys{FirstIndex: 3, Pubkeys: [][]byte{pubkey(1)}})
	r.refused(StaleIndex, &fsmpb.GenerateKeys{FirstIndex: 3, Pubkeys: [][]byte{pubkey(0), pubkey(0)}})
	r.generate(1)
	r.pay()
	require.Equal(t, [][]byte{pubkey(1), pubkey(3)}, r.View().Allocation("ns", "a").GetKeys())
}

func TestImportIsAudited(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.bring(pubkey(7), pubkey(8))
	r.confirm(pubkey(7), 5)
	r.ok(&fsmpb.Tick{ElapsedMs: 5})
	var actions []string
	for a := range r.View().Audit(0) {
		if a.GetObject() == hexName(pubkey(7)) {
			actions = append(actions, a.GetAction()+" "+a.GetDetail())
		}
	}
	require.Equal(t, []string{"key.import ", "key.proof KIND_OPERATOR by op", "key.free "}, actions)
	count := r.View().Meta().GetNextAudit()
	r.bring(pubkey(7), pubkey(8))
	require.Equal(t, count, r.View().Meta().GetNextAudit(), "what changes nothing is not recorded")
}

// A request that waits for a deposit nobody signed takes the free key instead.
func TestImportedKeySavesADeposit(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.bring(pubkey(100))
	r.ask("a", "1", 1)
	r.generate(1)
	require.Len(t, r.toSign(), 1)
	r.confirm(pubkey(100), 0)
	require.Empty(t, r.toSign())
	require.Equal(t, [][]byte{pubkey(100)}, r.View().Allocation("ns", "a").GetKeys())
}
