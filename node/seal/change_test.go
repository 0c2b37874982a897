package seal

import (
	"context"
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// solo is a leader whose commands are applied at once.
type solo struct {
	t       *testing.T
	machine *fsm.Machine
	index   uint64
	before  func() // the next command is applied
}

func (s *solo) View() *fsm.View { return s.machine.View() }

func (s *solo) Propose(_ context.Context, cmd *fsmpb.Command) (any, error) {
	if before := s.before; before != nil {
		s.before = nil
		before()
	}
	cmd.Version, cmd.Session = fsm.CommandVersion, 1
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{cmd}})
	require.NoError(s.t, err)
	s.index++
	results, err := s.machine.Apply(s.index, 1, entry)
	require.NoError(s.t, err)
	require.NoError(s.t, s.View().Check())
	return results[0].Value, results[0].Err()
}

func (s *solo) do(cmd *fsmpb.Command) {
	s.t.Helper()
	_, err := s.Propose(s.t.Context(), cmd)
	require.NoError(s.t, err)
}

// newSolo has a keyring of these keys, with a sealed seed, two imported keys, and a logical cloud.
func newSolo(t *testing.T, keks ...KEK) (*solo, *Vault) {
	t.Helper()
	s := &solo{t: t, machine: fsm.New()}
	s.do(&fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n1-a", NewClusterId: testCluster}}})
	v := NewVault(nil, keks...)
	_, err := v.pass(t.Context(), s)
	require.NoError(t, err)
	ring, err := v.Keyring(s.View())
	require.NoError(t, err)
	seed, err := ring.Seal(KindSeed, SeedID, []byte("the seed"))
	require.NoError(t, err)
	s.do(&fsmpb.Command{Body: &fsmpb.Command_InstallSeed{InstallSeed: &fsmpb.InstallSeed{Sealed: seed, Fingerprint: "f"}}})
	s.bring(ring, 1)
	s.bring(ring, 2)
	s.describe(ring)
	return s, v
}

func pubkeyOf(n byte) []byte { return append(make([]byte, fsm.PubkeyLength-1), n) }

func (s *solo) bring(ring *Keyring, n byte) {
	s.t.Helper()
	sealed, err := ring.Seal(KindKey, hex.EncodeToString(pubkeyOf(n)), []byte{n, n, n})
	require.NoError(s.t, err)
	s.do(&fsmpb.Command{KeyringRestore: RestoreOf(s.View()), Body: &fsmpb.Command_ImportKeys{ImportKeys: &fsmpb.ImportKeys{
		Keys: []*fsmpb.ImportedKey{{Pubkey: pubkeyOf(n), Sealed: sealed}},
	}}})
}

// announce has a member tell which keys it was given.
func (s *solo) announce(id string, keks ...KEK) {
	s.t.Helper()
	v := NewVault(nil, keks...)
	v.identify(s.t.Context(), testCluster)
	s.do(&fsmpb.Command{Body: &fsmpb.Command_SetMember{SetMember: &fsmpb.SetMember{
		Member: &fsmpb.Member{NodeId: id, RaftAddress: "r", Keys: v.Announced()},
	}}})
}

// intact checks that a vault opens everything in the state.
func intact(t *testing.T, view *fsm.View, v *Vault) {
	t.Helper()
	require.NoError(t, v.Open(t.Context(), view))
	ring, err := v.Keyring(view)
	require.NoError(t, err)
	plain, err := ring.Open(KindSeed, SeedID, view.Secret(fsm.SecretSeed).GetSealed())
	require.NoError(t, err)
	require.Equal(t, "the seed", string(plain))
	for k := range view.Keys(nil) {
		plain, err := ring.Open(KindKey, hex.EncodeToString(k.GetPubkey()), k.GetSealed())
		require.NoError(t, err)
		require.Equal(t, k.GetPubkey()[fsm.PubkeyLength-1], plain[0])
	}
	requireClouds(t, view, ring)
}

// settle lets the duty do all that is to be done.
func settle(t *testing.T, s *solo, v *Vault) (passes int) {
	t.Helper()
	for more := true; more; passes++ {
		var err error
		more, err = v.pass(t.Context(), s)
		require.NoError(t, err)
	}
	return passes
}

func idOf(t *testing.T, kek KEK) string {
	t.Helper()
	identity, err := kek.Identify(t.Context(), testCluster)
	require.NoError(t, err)
	return identity.ID
}

// Everything is sealed again under a new data key, and the old one is given up.
func TestRotateDataKey(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("a"))
	s, v := newSolo(t, kek)
	old, err := v.Keyring(s.View())
	require.NoError(t, err)
	require.NoError(t, v.Rotate(t.Context(), s, Asker{Caller: &fsmpb.Caller{Name: "ann"}}))
	intact(t, s.View(), v)
	intact(t, s.View(), NewVault(nil, kek)) // as after a restart, before anything was sealed again
	settle(t, s, v)
	seal := s.View().Meta().GetSeal()
	require.EqualValues(t, 2, seal.GetOldestTerm())
	require.EqualValues(t, 5, seal.GetTerms()[0].GetRecords())
	intact(t, s.View(), v)
	intact(t, s.View(), NewVault(nil, kek))
	_, err = old.Open(KindSeed, SeedID, s.View().Secret(fsm.SecretSeed).GetSealed())
	require.ErrorIs(t, err, ErrOpen)
	require.Equal(t, 1, audits(s.View(), "keyring.rotate"))
	require.Equal(t, 1, audits(s.View(), "keyring.prune"))
	require.Equal(t, 1, audits(s.View(), "keyring.reseal"), "one record for all")
}

// A data key is replaced by itself after so many uses, or so long.
func TestRotationByItself(t *testing.T) {
	t.Parallel()
	s, v := newSolo(t, kekOf(t, keyOf("a")))
	require.Equal(t, 1, settle(t, s, v), "there is nothing to do")
	v.maxUses = 6
	require.Equal(t, 1, settle(t, s, v), "5 uses")
	v.maxUses = 5
	_, err := v.pass(t.Context(), s)
	require.NoError(t, err)
	require.EqualValues(t, 2, s.View().Meta().GetSeal().GetCurrentTerm(), "used up")
	v.maxUses = defaultMaxUses
	settle(t, s, v)

	v.maxAge = time.Minute
	s.do(&fsmpb.Command{Body: &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: 59_000}}})
	require.Equal(t, 1, settle(t, s, v))
	s.do(&fsmpb.Command{Body: &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: 1000}}})
	settle(t, s, v)
	require.EqualValues(t, 3, s.View().Meta().GetSeal().GetOldestTerm(), "too old")
	intact(t, s.View(), v)
}

func TestAddKey(t *testing.T) {
	t.Parallel()
	a, b, c := kekOf(t, keyOf("a")), kekOf(t, keyOf("b")), kekOf(t, keyOf("c"))
	s, _ := newSolo(t, a)
	v := NewVault(nil, a, b) // after a restart with one more --seal
	require.NoError(t, v.Add(t.Context(), s, Asker{}, idOf(t, b), false))
	require.NoError(t, v.Add(t.Context(), s, Asker{}, idOf(t, b), false), "a repeat changes nothing")
	require.Equal(t, 1, audits(s.View(), "keyring.add"))
	intact(t, s.View(), NewVault(nil, b))
	intact(t, s.View(), NewVault(nil, a))

	require.ErrorIs(t, v.Add(t.Context(), s, Asker{}, idOf(t, c), false), ErrUnknownKey)
	s.announce("n2-b", c)
	err := v.Add(t.Context(), s, Asker{}, idOf(t, c), false)
	require.ErrorIs(t, err, ErrCannotWrap, "only another member has it")
	require.ErrorContains(t, err, "--seal of this node")
	err = NewVault(nil, c).Add(t.Context(), s, Asker{}, idOf(t, c), false)
	require.ErrorIs(t, err, node.ErrSealed, "who is sealed can not let itself in")
}

// What was removed opens nothing any more that is sealed from then on, not even
// together with what it opened before.
func TestRemoveKey(t *testing.T) {
	t.Parallel()
	a, b := kekOf(t, keyOf("a")), kekOf(t, keyOf("b"))
	s, v := newSolo(t, a, b)
	stolen := s.View() // a backup
	oldRoot, err := openRooted(t.Context(), testCluster, stolen.Secret(fsm.SecretKeyring).GetSealed(), []KEK{a})
	require.NoError(t, err)

	require.ErrorIs(t, v.Remove(t.Context(), s, Asker{}, "file:00", false), ErrUnknownKey)
	s.announce("n1-a", a, b)
	s.announce("n2-b", a)
	err = v.Remove(t.Context(), s, Asker{}, idOf(t, a), false)
	require.ErrorIs(t, err, ErrStranded)
	require.ErrorContains(t, err, "n2-b")
	require.ErrorIs(t, NewVault(nil, a).Remove(t.Context(), s, Asker{}, idOf(t, a), true), ErrCannotWrap, "who has not the others can not wrap a new root key for them")
	s.announce("n2-b", a, b)
	require.NoError(t, v.Remove(t.Context(), s, Asker{}, idOf(t, a), false))
	settle(t, s, v)
	require.ErrorIs(t, v.Remove(t.Context(), s, Asker{}, idOf(t, b), true), ErrLastKey)

	intact(t, s.View(), v)
	intact(t, s.View(), NewVault(nil, b))
	require.ErrorIs(t, NewVault(nil, a).Open(t.Context(), s.View()), ErrNotWrapped)
	now, err := decodeRecord(s.View().Secret(fsm.SecretKeyring).GetSealed())
	require.NoError(t, err)
	_, err = decrypt(oldRoot.root, now.Keys, now.bound(testCluster))
	require.ErrorIs(t, err, ErrOpen, "the old root key")
	_, err = decrypt(make([]byte, KeySize), now.Keys, now.bound(testCluster))
	require.ErrorIs(t, err, ErrOpen, "a root key that was forgotten instead of made")
	_, err = oldRoot.Open(KindSeed, SeedID, s.View().Secret(fsm.SecretSeed).GetSealed())
	require.ErrorIs(t, err, ErrOpen, "the old data key")
	intact(t, stolen, NewVault(nil, a)) // what was stolen before stays readable, and is said so

	require.Equal(t, []string{idOf(t, a)}, Removed(s.View()))
	require.ErrorIs(t, v.Add(t.Context(), s, Asker{}, idOf(t, a), false), ErrRemoved, "it may have leaked")
	require.NoError(t, v.Add(t.Context(), s, Asker{}, idOf(t, a), true))
	require.Empty(t, Removed(s.View()))
}

// Nothing new is sealed for a key that was removed, whoever has not heard of it yet.
func TestNothingNewForARemovedKey(t *testing.T) {
	t.Parallel()
	a, b := kekOf(t, keyOf("a")), kekOf(t, keyOf("b"))
	s, v := newSolo(t, a, b)
	late, err := v.Keyring(s.View())
	require.NoError(t, err)
	require.NoError(t, v.Remove(t.Context(), s, Asker{}, idOf(t, a), true))
	sealed, err := late.Seal(KindKey, hex.EncodeToString(pubkeyOf(9)), []byte{9})
	require.NoError(t, err)
	_, err = s.Propose(t.Context(), &fsmpb.Command{Body: &fsmpb.Command_ImportKeys{ImportKeys: &fsmpb.ImportKeys{
		Keys: []*fsmpb.ImportedKey{{Pubkey: pubkeyOf(9), Sealed: sealed}},
	}}})
	require.ErrorIs(t, err, fsm.Refused(fsm.StaleSeal))
}

// A leader that removes the only key of its own is sealed by that, like any other.
func TestLeaderThatRemovesItsOwnKey(t *testing.T) {
	t.Parallel()
	own := kekOf(t, keyOf("a"))
	tpm, _ := newSoftTPM(t)
	s, v := newSolo(t, own)
	s.announce("n2-b", tpm)
	require.NoError(t, v.Add(t.Context(), s, Asker{}, idOf(t, tpm), false))
	require.NoError(t, v.Remove(t.Context(), s, Asker{}, idOf(t, own), true))
	require.ErrorIs(t, v.Open(t.Context(), s.View()), ErrNotWrapped)
	_, usable := v.Usable(s.View())
	require.False(t, usable)
	intact(t, s.View(), NewVault(nil, tpm))
}

// Of two changes at once none undoes the other.
func TestChangesAtOnce(t *testing.T) {
	t.Parallel()
	a, b := kekOf(t, keyOf("a")), kekOf(t, keyOf("b"))
	s, v := newSolo(t, a)
	other := NewVault(nil, a, b)
	s.before = func() { require.NoError(t, other.Add(t.Context(), s, Asker{}, idOf(t, b), false)) }
	require.NoError(t, v.Rotate(t.Context(), s, Asker{}))
	intact(t, s.View(), NewVault(nil, b))
	intact(t, s.View(), v)
	require.EqualValues(t, 2, s.View().Meta().GetSeal().GetCurrentTerm())
	require.EqualValues(t, 3, s.View().Meta().GetSeal().GetRevision())
}

// A leader that changes the keyring is not sealed for a moment, even if the key
// can not be used just then.
func TestNoGapOnTheLeader(t *testing.T) {
	t.Parallel()
	kek := &moodyKEK{KEK: kekOf(t, keyOf("a"))}
	s, v := newSolo(t, kek)
	used := kek.used()
	s.before = func() { kek.mood(context.DeadlineExceeded, "") }
	require.NoError(t, v.Rotate(t.Context(), s, Asker{}))
	ring, err := v.Keyring(s.View())
	require.NoError(t, err)
	require.EqualValues(t, 2, ring.current)
	require.Equal(t, used+1, kek.used())
	require.ErrorIs(t, v.Rotate(t.Context(), s, Asker{}), node.ErrSealed, "the root key is not kept in memory")
}

// A key that was changed behind its ID has the root key wrapped again.
func TestRewrap(t *testing.T) {
	t.Parallel()
	kek := &moodyKEK{KEK: kekOf(t, keyOf("a")), version: "1"}
	s, v := newSolo(t, kek)
	v.identify(t.Context(), testCluster)
	settle(t, s, v)
	require.Zero(t, audits(s.View(), "keyring.rewrap"))
	kek.mood(nil, "2")
	v.identify(t.Context(), testCluster)
	settle(t, s, v)
	settle(t, s, v)
	require.Equal(t, 1, audits(s.View(), "keyring.rewrap"))
	require.Equal(t, "2", Wrapping(s.View())[0].Version)
	intact(t, s.View(), NewVault(nil, kek))
}

func TestVerify(t *testing.T) {
	t.Parallel()
	a := kekOf(t, keyOf("a"))
	s, _ := newSolo(t, a)
	results, err := NewVault(nil, a, kekOf(t, keyOf("b")), kekOf(t, "no key")).Verify(t.Context(), s.View())
	require.NoError(t, err)
	require.Equal(t, Verified{ID: idOf(t, a)}, results[0])
	require.ErrorIs(t, results[1].Err, ErrNotWrapped)
	require.ErrorIs(t, results[2].Err, ErrKEK)
	require.Empty(t, results[2].ID)
	_, err = NewVault(nil, a).Verify(t.Context(), stateWith(t, nil))
	require.ErrorIs(t, err, node.ErrSealed)
}

// A keyring of the first version is taken over by the first change.
func TestFirstVersionIsChanged(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("a"))
	s := &solo{t: t, machine: fsm.New()}
	s.do(&fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n1-a", NewClusterId: testCluster}}})
	s.do(&fsmpb.Command{Body: &fsmpb.Command_InstallKeyring{InstallKeyring: &fsmpb.InstallKeyring{Sealed: []byte(knownRecord)}}})
	v := NewVault(nil, kek)
	require.NoError(t, v.Rotate(t.Context(), s, Asker{}))
	require.NoError(t, NewVault(nil, kek).Open(t.Context(), s.View()))
	ring, err := v.Keyring(s.View())
	require.NoError(t, err)
	plain, err := ring.Open("seed", "seed", unhex(t, knownSecret))
	require.NoError(t, err)
	require.Equal(t, "known answer", string(plain))
}
