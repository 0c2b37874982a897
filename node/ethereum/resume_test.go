package ethereum

import (
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// used has a scene whose account made one deposit and then, for somebody else,
// so many transactions.
func used(t *testing.T, transactions int, changes ...func(*Config)) (*scene, *Duty, *session) {
	t.Helper()
	s := newScene(t, newChain(t), 1, changes...)
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	s.confirm(d, leader)
	for range transactions {
		s.steal()
	}
	s.ask("b", 2)
	return s, d, leader
}

// steal has somebody else use the funding account, in a block.
func (s *scene) steal() {
	s.t.Helper()
	s.pay(s.account, common.Address{1}, big.NewInt(1), nil)
	s.backend.Commit()
}

func (s *scene) record() *fsmpb.Account {
	address := s.address()
	return s.machine.View().Account(simulatedChainID, address[:])
}

func TestResumeGoesOnBehindForeignTransactions(t *testing.T) {
	t.Parallel()
	s, d, leader := used(t, 2, func(cfg *Config) { cfg.Confirmations = 3 })
	s.resume()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(Stopped), s.status(), "a resume of before is for nothing")
	require.EqualValues(t, 3, s.record().GetStop().GetNonce())

	s.resume()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(ForeignTransaction), s.status())
	require.Contains(t, s.detail(), "go on with nonce 3 when")
	require.LessOrEqual(t, s.record().GetNextNonce(), uint64(2), "it is not final")

	s.confirm(d, leader)
	require.Empty(t, s.status())
	require.Equal(t, s.before+3, s.count())
	require.EqualValues(t, 5, s.record().GetNextNonce())
	require.Equal(t, uint64(5), s.nonce(s.address()))
	require.NoError(t, s.machine.View().Check())
}

// What an operator did not know of when resuming stops deposits again.
func TestResumeIsForWhatWasKnown(t *testing.T) {
	t.Parallel()
	s, d, leader := used(t, 1)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(Stopped), s.status())
	s.resume()
	s.steal()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(Stopped), s.status())
	require.NoError(t, d.pass(t.Context(), leader))
	require.EqualValues(t, 1, s.record().GetNextNonce())
	s.resume()
	s.confirm(d, leader)
	require.Equal(t, s.before+3, s.count())
	require.EqualValues(t, 5, s.record().GetNextNonce())
}

// A leader that is paused after it saw foreign transactions does not make of a
// later leader's deposits foreign ones.
func TestStopOfAnEarlierSession(t *testing.T) {
	t.Parallel()
	s, d, leader := used(t, 1)
	require.NoError(t, d.pass(t.Context(), leader))
	s.resume()
	var late []*fsmpb.Command
	leader.before = func(c *fsmpb.Command) bool { late = append(late, c); return false }
	require.Error(t, d.pass(t.Context(), leader))
	require.Len(t, late, 1)
	require.NotNil(t, late[0].GetAdvanceNonce())
	s.confirm(s.duty(), s.begin())
	require.NotNil(t, s.apply(late[0]).Refusal)
	require.Equal(t, s.before+3, s.count())
	require.EqualValues(t, 4, s.record().GetNextNonce())
}

// Another account is not stopped by what happened to the first, and what the
// first still has in flight is finished with its bytes.
func TestAnotherAccountGoesOn(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	s.ask("a", 1)
	leader := s.begin()
	s.front.hook(noSending, nil)
	require.NoError(t, s.duty().pass(t.Context(), leader))
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_SIGNED, s.only().GetState())
	s.front.hook(nil, nil)
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_StopAccount{StopAccount: &fsmpb.StopAccount{
		ChainId: simulatedChainID, Account: s.record().GetAddress(), Stop: &fsmpb.Stop{Reason: "somebody else", Nonce: 7},
	}}})
	first := s.record().GetAddress()
	s.cfg.Funding = wallet{accountKey(2)}
	s.ask("b", 2)
	s.confirm(s.duty(), leader)
	require.Empty(t, s.status())
	require.Equal(t, s.before+3, s.count())
	require.Equal(t, uint64(1), s.nonce(common.Address(first)))
	require.Equal(t, uint64(2), s.nonce(s.address()))
	require.NotNil(t, s.machine.View().Account(simulatedChainID, first).GetStop())
}

// The nonce of a deposit of the account from before was used by somebody else:
// that account is stopped, and the present one pays.
func TestForeignTransactionOfTheAccountFromBefore(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	s.ask("a", 1)
	leader := s.begin()
	s.front.hook(noSending, nil)
	require.NoError(t, s.duty().pass(t.Context(), leader))
	first := s.record().GetAddress()
	s.payAt(s.account, 0, common.Address{1}, big.NewInt(1), nil)
	s.backend.Commit()
	s.front.hook(nil, nil)
	s.cfg.Funding = wallet{accountKey(2)}
	s.confirm(s.duty(), leader)
	require.Empty(t, s.status())
	require.Equal(t, s.before+1, s.count())
	require.Equal(t, uint64(1), s.nonce(s.address()))
	require.NotNil(t, s.machine.View().Account(simulatedChainID, first).GetStop())
	require.NoError(t, s.machine.View().Check())
}
