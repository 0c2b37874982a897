package ethereum

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// backup is the state as a backup has it.
func (s *scene) backup() (data []byte, index uint64) {
	s.t.Helper()
	var b bytes.Buffer
	view := s.machine.View()
	_, err := view.WriteTo(&b)
	require.NoError(s.t, err)
	return b.Bytes(), view.Meta().GetAppliedIndex()
}

// restore brings a backup back. A session has to be begun after it.
func (s *scene) restore(data []byte, index uint64) {
	s.t.Helper()
	sum := sha256.Sum256(data)
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_StageRestore{StageRestore: &fsmpb.StageRestore{RestoreId: "r", Data: data}}})
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_FinishRestore{FinishRestore: &fsmpb.FinishRestore{
		RestoreId: "r", Sha256: sum[:], Index: index, ClusterId: "c", Force: true,
	}}})
}

func (s *scene) keysOf(pod string) [][]byte {
	return s.machine.View().Allocation("default", pod).GetKeys()
}

func (s *scene) release(pod string) {
	s.t.Helper()
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_Release{Release: &fsmpb.Release{
		Namespace: "default", Pod: pod, Fence: s.machine.View().Allocation("default", pod).GetFence(),
		Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: "op"},
	}}})
}

// A backup is restored that was made while a deposit was in the mempool. After it a
// key went to another pod, deposits were made, and one is in the mempool now. Nothing
// is paid twice, and no key goes to a second pod.
func TestRestoreOfABackup(t *testing.T) {
	t.Parallel()
	s := freshScene(t, newChain(t), 1)
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	d, leader := s.duty(), s.begin()
	s.ask("a", 1)
	s.settle(d, leader)
	s.ask("b", 1)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SENT], "%v", s.states())
	data, index := s.backup()

	s.settle(d, leader)
	moved := s.keysOf("a")[0]
	s.release("a")
	s.ask("c", 1)
	require.Equal(t, moved, s.keysOf("c")[0], "the key has another holder, of whom the backup knows nothing")
	s.ask("d", 2)
	s.settle(d, leader)
	s.ask("e", 1)
	require.NoError(t, d.pass(t.Context(), leader)) // in the mempool
	lost := append(s.keysOf("d"), moved)
	require.Equal(t, s.before+4, s.count())

	s.restore(data, index)
	d, leader = s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(RestoreUnsettled), s.status(), s.detail())
	require.Contains(t, s.detail(), "under way")
	require.ErrorIs(t, s.apply(&fsmpb.Command{
		Version: fsm.CommandVersion, Session: s.term, Body: &fsmpb.Command_ConfirmRestore{ConfirmRestore: &fsmpb.ConfirmRestore{
			Number: 1, Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: "op"},
		}},
	}).Err(), fsm.Refused(fsm.RestoreIncomplete))
	s.settle(d, leader)
	require.Equal(t, string(RestoreUnconfirmed), s.status(), s.detail())
	require.Empty(t, s.machine.View().RestoreMissing())
	require.Equal(t, []uint64{2, 3, 4}, s.adopted(), "those that were paid for after the backup")
	address := s.address()
	require.Equal(t, uint64(5), s.machine.View().Account(simulatedChainID, address[:]).GetNextNonce())
	require.Equal(t, s.before+5, s.count())
	require.NoError(t, s.machine.View().Check())

	s.propose(&fsmpb.Command{Body: &fsmpb.Command_ConfirmRestore{ConfirmRestore: &fsmpb.ConfirmRestore{
		Number: 1, Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: "op"},
	}}})
	s.ask("f", 2)
	s.settle(d, leader)
	require.Empty(t, s.status(), s.detail())
	got := s.keysOf("f")
	require.Len(t, got, 2)
	for _, k := range lost {
		require.NotContains(t, got, k, "with a pod of the history that was lost, or of the one that is known")
	}
	require.Greater(t, s.machine.View().Key(got[1]).GetIndex(), uint64(100_000))
	s.requireOneEach()
	require.Equal(t, s.before+6, s.count())
	s.ask("a", 1)
	require.Equal(t, moved, s.keysOf("a")[0], "the pod that the backup knows has its own again")
}
