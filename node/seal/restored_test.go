package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// restore brings a backup back, and begins a session of the same term.
func (s *solo) restore(data []byte, index uint64) {
	s.t.Helper()
	sum := sha256.Sum256(data)
	s.do(&fsmpb.Command{Body: &fsmpb.Command_StageRestore{StageRestore: &fsmpb.StageRestore{RestoreId: "r", Data: data}}})
	s.do(&fsmpb.Command{Body: &fsmpb.Command_FinishRestore{FinishRestore: &fsmpb.FinishRestore{
		RestoreId: "r", Sha256: sum[:], Index: index, ClusterId: testCluster, Force: true,
	}}})
	s.do(&fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n1-a"}}})
}

// rotatedAfterBackup is a cluster that rotated its data key after a backup was made, and
// what restores that.
func rotatedAfterBackup(t *testing.T, kek KEK) (s *solo, leader *Vault, goBack func()) {
	t.Helper()
	s, leader = newSolo(t, kek)
	s.do(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	var data bytes.Buffer
	view := s.View()
	_, err := view.WriteTo(&data)
	require.NoError(t, err)
	require.NoError(t, leader.Rotate(t.Context(), s, Asker{}))
	require.NoError(t, leader.Open(t.Context(), s.View()))
	return s, leader, func() { s.restore(data.Bytes(), view.Meta().GetAppliedIndex()) }
}

// A backup is restored between sealing and proposing, and the keyring has a data key of
// the same term afterwards. What was sealed is not taken, but sealed anew.
func TestSealedBeforeARestoreAndProposedAfterIt(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("a"))
	s, leader, goBack := rotatedAfterBackup(t, kek)
	restore := func() {
		goBack()
		require.NoError(t, leader.Open(t.Context(), s.View()))
		require.NoError(t, leader.Rotate(t.Context(), s, Asker{}))
		require.NoError(t, leader.Open(t.Context(), s.View()))
	}

	pubkey, id, tried := bytes.Repeat([]byte{9}, fsm.PubkeyLength), strings.Repeat("09", fsm.PubkeyLength), 0
	s.before = restore
	_, err := ProposeSealed(t.Context(), leader, s, func(ring *Keyring) (*fsmpb.Command, error) {
		tried++
		sealed, err := ring.Seal(KindKey, id, []byte("secret"))
		return &fsmpb.Command{Body: &fsmpb.Command_ImportKeys{ImportKeys: &fsmpb.ImportKeys{
			Keys: []*fsmpb.ImportedKey{{Pubkey: pubkey, Sealed: sealed}},
		}}}, err
	})
	require.NoError(t, err)
	require.Equal(t, 2, tried)
	ring, err := leader.Keyring(s.View())
	require.NoError(t, err)
	plain, err := ring.Open(KindKey, id, s.View().Key(pubkey).GetSealed())
	require.NoError(t, err)
	require.Equal(t, "secret", string(plain))
}

// The same with a change of the keyring, whose revision the backup's keyring comes to as
// well: taking it would put the lost history's keyring over secrets that it never sealed.
func TestKeyringOfALostHistory(t *testing.T) {
	t.Parallel()
	s, leader := newSolo(t, kekOf(t, keyOf("a")))
	s.do(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	var data bytes.Buffer
	view := s.View()
	_, err := view.WriteTo(&data)
	require.NoError(t, err)
	require.NoError(t, leader.Rotate(t.Context(), s, Asker{}))
	s.before = func() {
		s.restore(data.Bytes(), view.Meta().GetAppliedIndex())
		require.NoError(t, leader.Open(t.Context(), s.View()))
		require.NoError(t, leader.Rotate(t.Context(), s, Asker{}))
		ring, err := leader.Keyring(s.View())
		require.NoError(t, err)
		s.bring(ring, 7) // under the data key of the history that goes on
	}
	require.NoError(t, leader.Rotate(t.Context(), s, Asker{}))
	require.Equal(t, uint32(3), s.View().Meta().GetSeal().GetCurrentTerm())
	require.NoError(t, leader.Open(t.Context(), s.View()))
	ring, err := leader.Keyring(s.View())
	require.NoError(t, err)
	_, err = ring.Open(KindKey, hex.EncodeToString(pubkeyOf(7)), s.View().Key(pubkeyOf(7)).GetSealed())
	require.NoError(t, err)
}

// A restore takes the keyring back, and the data keys that come then have the terms of
// others that were lost. A vault that knew those seals nothing under them.
func TestVaultAfterARestore(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("a"))
	s, leader, goBack := rotatedAfterBackup(t, kek)
	lost, err := leader.Keyring(s.View())
	require.NoError(t, err)
	wrong, err := lost.Seal(KindSeed, SeedID, []byte("x"))
	require.NoError(t, err)

	goBack()
	_, usable := leader.Usable(s.View())
	require.False(t, usable, "another history: nothing is done before the keyring was opened anew")

	other := NewVault(nil, kek)
	require.NoError(t, other.Open(t.Context(), s.View()))
	require.NoError(t, other.Rotate(t.Context(), s, Asker{}))
	_, usable = leader.Usable(s.View())
	require.False(t, usable, "its data key of this term is another one")
	require.NoError(t, leader.Open(t.Context(), s.View()))
	ring, err := leader.Keyring(s.View())
	require.NoError(t, err)
	_, err = ring.Open(KindSeed, SeedID, wrong)
	require.Error(t, err, "one term, two data keys")
}
