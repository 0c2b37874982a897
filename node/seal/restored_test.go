package seal

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// A restore takes the keyring back, and the data keys that come then have the terms of
// others that were lost. A vault that knew those seals nothing under them.
func TestVaultAfterARestore(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("a"))
	s, leader := newSolo(t, kek)
	s.do(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	var data bytes.Buffer
	view := s.View()
	_, err := view.WriteTo(&data)
	require.NoError(t, err)
	require.NoError(t, leader.Rotate(t.Context(), s, Asker{}))
	require.NoError(t, leader.Open(t.Context(), s.View()))
	lost, err := leader.Keyring(s.View())
	require.NoError(t, err)
	wrong, err := lost.Seal(KindSeed, SeedID, []byte("x"))
	require.NoError(t, err)

	sum := sha256.Sum256(data.Bytes())
	s.do(&fsmpb.Command{Body: &fsmpb.Command_StageRestore{StageRestore: &fsmpb.StageRestore{RestoreId: "r", Data: data.Bytes()}}})
	s.do(&fsmpb.Command{Body: &fsmpb.Command_FinishRestore{FinishRestore: &fsmpb.FinishRestore{
		RestoreId: "r", Sha256: sum[:], Index: view.Meta().GetAppliedIndex(), ClusterId: testCluster, Force: true,
	}}})
	s.do(&fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n1-a"}}})
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
