package ethereum

import (
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// stuckRestore is a restored backup that was made while a deposit was stuck by its fee,
// with the transactions that the lost history put in its place. No client takes the
// first one again.
func stuckRestore(t *testing.T, replaced int) (s *scene, d *Duty, leader *session, lost []*types.Transaction) {
	t.Helper()
	s = freshScene(t, newChain(t), 1, func(cfg *Config) { cfg.ReplaceAfter = 2 })
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	d, leader = s.duty(), s.begin()
	s.front.refusing(isSending)
	s.ask("a", 1)
	require.NoError(t, d.pass(t.Context(), leader))
	data, index := s.backup()
	for range 2 * replaced {
		s.backend.Commit()
		require.NoError(t, d.pass(t.Context(), leader))
	}
	lost = s.attempts()[1:]
	require.Len(t, lost, replaced)

	s.restore(data, index)
	d, leader = s.duty(), s.begin()
	first := hexutil.Encode(s.only().GetAttempts()[0].GetRaw())
	s.front.refusing(func(c rpcCall) bool { return isSending(c) && string(c.Params[0]) == `"`+first+`"` })
	return s, d, leader, lost
}

// A restore can be confirmed although a deposit was stuck when the backup was made: it
// is replaced at the nonce that it has.
func TestRestoreWithAStuckDeposit(t *testing.T) {
	t.Parallel()
	s, d, leader, _ := stuckRestore(t, 0)
	require.NoError(t, d.pass(t.Context(), leader))
	require.True(t, s.machine.View().RestoreOpen())
	require.Equal(t, fsm.MissingAccount, s.machine.View().RestoreMissing()[1].Code)
	s.settle(d, leader)
	require.Empty(t, s.machine.View().RestoreMissing(), s.detail())
	require.Greater(t, len(s.only().GetAttempts()), 1)
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_FINAL, s.only().GetState())
	s.requirePaid(1)
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_ConfirmRestore{ConfirmRestore: &fsmpb.ConfirmRestore{
		Number: 1, Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: "op"},
	}}})
}

// The lost history replaced it too, and its transaction lands after ours was logged. The
// chain runs one of both.
func TestStuckDepositThatTheLostHistoryReplaced(t *testing.T) {
	t.Parallel()
	s, d, leader, lost := stuckRestore(t, 3)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Greater(t, len(s.attempts()), 1, "replaced while the restore is open")
	ours := s.attempts()[1]
	require.Equal(t, lost[2].Nonce(), ours.Nonce())
	require.NoError(t, s.client.SendTransaction(t.Context(), lost[2]), "which offers more than ours")
	s.settle(d, leader)
	require.Empty(t, s.machine.View().RestoreMissing(), s.detail())
	require.Equal(t, []uint64{0}, s.adopted(), "paid for by the history that was lost")
	require.Equal(t, s.before+1, s.count())
	s.requireOneEach()
	require.NoError(t, s.machine.View().Check())
}
