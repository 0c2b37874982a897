package fsm

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const (
	rotate = fsmpb.UpdateKeyring_CHANGE_ROTATE
	prune  = fsmpb.UpdateKeyring_CHANGE_PRUNE
)

// keyring is a change of the keyring that fits the state but for what is given.
func (r *replica) keyring(current, oldest uint32, change fsmpb.UpdateKeyring_Change) *fsmpb.UpdateKeyring {
	return &fsmpb.UpdateKeyring{
		Sealed: under(current, "keyring"), Revision: r.View().Meta().GetSeal().GetRevision(),
		CurrentTerm: current, OldestTerm: oldest, Change: change,
	}
}

func anew(old []byte, term uint32) *fsmpb.Resealed {
	return &fsmpb.Resealed{OldSha256: sumOf(old), Sealed: under(term, "anew")}
}

// From one data key to the next: nothing is given up while something is under it.
func TestRotation(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.ok(&fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{{Pubkey: pubkey(1), Sealed: under(1, "k")}}})
	r.ok(&fsmpb.Tick{ElapsedMs: 5000})
	r.ok(r.keyring(2, 1, rotate))
	s := r.View().Meta().GetSeal()
	require.Equal(t, []uint64{2, 1, 5000, 2}, []uint64{uint64(s.GetCurrentTerm()), uint64(s.GetOldestTerm()), s.GetSinceMs(), s.GetRevision()})
	require.EqualValues(t, 2, s.GetTerms()[0].GetRecords())

	r.refused(StaleKeyring, r.keyring(2, 2, prune))
	seed, key := r.View().Secret(SecretSeed).GetSealed(), r.View().Key(pubkey(1)).GetSealed()
	newSeed, newKey := anew(seed, 2), anew(key, 2)
	newSeed.Secret, newKey.Pubkey = SecretSeed, pubkey(1)
	require.Equal(t, Resealed(2), r.ok(&fsmpb.Reseal{Records: []*fsmpb.Resealed{newSeed, newKey}}))
	require.Equal(t, Resealed(0), r.ok(&fsmpb.Reseal{Records: []*fsmpb.Resealed{newSeed, newKey}}), "a repeat changes nothing")
	require.Equal(t, newKey.GetSealed(), r.View().Key(pubkey(1)).GetSealed())
	require.Equal(t, "f", r.View().Secret(SecretSeed).GetFingerprint())
	require.Empty(t, collect(r.View().SealedBelow(2)))

	r.ok(&fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{{Pubkey: pubkey(2), Sealed: under(1, "late")}}}) // still kept
	require.Len(t, collect(r.View().SealedBelow(2)), 1)
	r.refused(StaleKeyring, r.keyring(2, 2, prune))
	late := anew(under(1, "late"), 2)
	late.Pubkey = pubkey(2)
	r.ok(&fsmpb.Reseal{Records: []*fsmpb.Resealed{late}})
	r.ok(r.keyring(2, 2, prune))
	r.refused(StaleSeal, &fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{{Pubkey: pubkey(3), Sealed: under(1, "too late")}}})
	require.Len(t, r.View().Meta().GetSeal().GetTerms(), 1)
}

func TestKeyringsThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.ok(r.keyring(2, 1, rotate))
	for name, tc := range map[string]struct {
		change func(*fsmpb.UpdateKeyring)
		want   Code
	}{
		"empty":            {func(c *fsmpb.UpdateKeyring) { c.Sealed = nil }, Invalid},
		"large":            {func(c *fsmpb.UpdateKeyring) { c.Sealed = make([]byte, maxKeyring+1) }, Invalid},
		"no change":        {func(c *fsmpb.UpdateKeyring) { c.Change = 0 }, Invalid},
		"unknown change":   {func(c *fsmpb.UpdateKeyring) { c.Change = 99 }, Invalid},
		"older revision":   {func(c *fsmpb.UpdateKeyring) { c.Revision-- }, StaleKeyring},
		"newer revision":   {func(c *fsmpb.UpdateKeyring) { c.Revision++ }, StaleKeyring},
		"a term back":      {func(c *fsmpb.UpdateKeyring) { c.CurrentTerm = 1 }, Invalid},
		"terms left out":   {func(c *fsmpb.UpdateKeyring) { c.CurrentTerm = 4 }, Invalid},
		"oldest goes back": {func(c *fsmpb.UpdateKeyring) { c.OldestTerm = 0 }, Invalid},
		"no term is left":  {func(c *fsmpb.UpdateKeyring) { c.OldestTerm = 3 }, Invalid},
		"data keys in use": {func(c *fsmpb.UpdateKeyring) { c.OldestTerm = 2 }, StaleKeyring},
	} {
		c := r.keyring(2, 1, rotate)
		tc.change(c)
		t.Log(name)
		r.refused(tc.want, c)
	}
	none := &replica{Machine: New(), t: t, term: 1}
	none.ok(&fsmpb.BeginSession{})
	none.refused(NotFound, none.keyring(0, 0, rotate))
}

func TestResealIsRefused(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.bring(pubkey(1))
	seed := r.View().Secret(SecretSeed).GetSealed()
	for name, tc := range map[string]struct {
		records []*fsmpb.Resealed
		want    Code
	}{
		"nothing":    {nil, Invalid},
		"too many":   {make([]*fsmpb.Resealed, maxReseal+1), Invalid},
		"next term":  {[]*fsmpb.Resealed{anew(seed, 2)}, StaleSeal},
		"no term":    {[]*fsmpb.Resealed{{Secret: SecretSeed, OldSha256: sumOf(seed)}}, StaleSeal},
		"large key":  {[]*fsmpb.Resealed{{Pubkey: pubkey(1), Sealed: under(1, string(make([]byte, maxSealedKey)))}}, Invalid},
		"the second": {[]*fsmpb.Resealed{anew(seed, 1), anew(seed, 2)}, StaleSeal},
	} {
		t.Log(name)
		r.refused(tc.want, &fsmpb.Reseal{Records: tc.records})
	}
	require.Equal(t, Resealed(0), r.ok(&fsmpb.Reseal{Records: []*fsmpb.Resealed{
		{Secret: SecretKeyring, OldSha256: sumOf(r.View().Secret(SecretKeyring).GetSealed()), Sealed: under(1, "x")},
		{Pubkey: pubkey(77), OldSha256: sumOf(nil), Sealed: under(1, "x")},
		{Secret: SecretSeed, OldSha256: sumOf([]byte("other")), Sealed: under(1, "x")},
		{Sealed: under(1, "x")},
	}}), "neither the keyring, nor what is not there, nor what has changed")
}

// The first keyring can not open what was there before it.
func TestLateKeyring(t *testing.T) {
	t.Parallel()
	r := &replica{Machine: New(), t: t, term: 1}
	r.ok(&fsmpb.BeginSession{})
	r.ok(&fsmpb.InstallSeed{Sealed: under(9, "s"), Fingerprint: "f"})
	r.refused(KeyringExists, &fsmpb.InstallKeyring{Sealed: []byte("k")})
}

// A snapshot from before the account was kept gets one.
func TestOldSnapshotIsCounted(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.bring(pubkey(1), pubkey(2))
	view := r.View()
	txn := view.from.db.Txn(true)
	meta := proto.CloneOf(view.Meta())
	meta.Seal = nil
	mustInsert(txn, tableMeta, meta)
	txn.Commit()
	m := New()
	require.NoError(t, m.Restore(bytes.NewReader(snapshot(t, r.View()))))
	require.NoError(t, m.View().Check())
	s := m.View().Meta().GetSeal()
	require.EqualValues(t, 3, s.GetTerms()[0].GetRecords())
	require.EqualValues(t, 1, s.GetRevision())
}

func collect(seq func(func(*fsmpb.Key) bool)) (keys []*fsmpb.Key) {
	for k := range seq {
		keys = append(keys, k)
	}
	return keys
}

// drawKeyring mostly draws the next thing that a leader would do.
func drawKeyring(t *rapid.T, w *world) proto.Message {
	s := w.meta.GetSeal()
	c := &fsmpb.UpdateKeyring{Sealed: []byte("k"), Revision: s.GetRevision(), CurrentTerm: s.GetCurrentTerm(), OldestTerm: s.GetOldestTerm()}
	switch rapid.IntRange(0, 4).Draw(t, "change") {
	case 0, 1:
		c.Change, c.CurrentTerm = rotate, s.GetCurrentTerm()+1
	case 2, 3:
		c.Change, c.OldestTerm = prune, s.GetCurrentTerm()
	default:
		c.Change = fsmpb.UpdateKeyring_Change(rapid.Int32Range(0, 6).Draw(t, "kind"))
		c.CurrentTerm += rapid.Uint32Range(0, 2).Draw(t, "terms") - 1
		c.Revision += rapid.SampledFrom([]uint64{0, 0, 1, ^uint64(0)}).Draw(t, "revision")
	}
	return c
}

func drawReseal(t *rapid.T, w *world) proto.Message {
	term := w.meta.GetSeal().GetCurrentTerm() - uint32(rapid.SampledFrom([]int{0, 0, 0, 0, 1}).Draw(t, "back"))
	c := &fsmpb.Reseal{}
	if w.seed != nil && oneIn(t, 2, "seed") {
		r := anew(w.seed.GetSealed(), term)
		r.Secret = SecretSeed
		c.Records = append(c.Records, r)
	}
	for _, pubkey := range slices.Sorted(maps.Keys(w.keys)) {
		if k := w.keys[pubkey]; k.GetImported() && rapid.Bool().Draw(t, "reseal") {
			r := anew(k.GetSealed(), term)
			r.Pubkey = k.GetPubkey()
			if oneIn(t, 8, "changed") {
				r.OldSha256 = sumOf(nil)
			}
			c.Records = append(c.Records, r)
		}
	}
	return c
}

// reseal follows a Reseal command: the secret of a key is what is in the newest ciphertext.
func (l *ledger) reseal(c *fsmpb.Reseal, before *world) {
	for _, r := range c.GetRecords() {
		k := before.keys[string(r.GetPubkey())]
		if len(r.GetPubkey()) > 0 && bytes.Equal(sumOf(k.GetSealed()), r.GetOldSha256()) {
			l.imports[string(r.GetPubkey())].sealed = string(r.GetSealed())
		}
	}
}
