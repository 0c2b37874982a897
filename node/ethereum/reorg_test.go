package ethereum

import (
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// reorganise replaces all blocks after parent by so many empty ones.
func (s *scene) reorganise(parent common.Hash, blocks int) {
	s.t.Helper()
	require.NoError(s.t, s.backend.Fork(parent))
	s.backend.Rollback()
	for range blocks {
		s.backend.Commit()
	}
}

// confirm makes passes until all deposits are final, with a block before each.
func (s *scene) confirm(d *Duty, in Session) {
	s.t.Helper()
	for range 100 {
		s.backend.Commit()
		require.NoError(s.t, d.pass(s.t.Context(), in))
		if n := s.states(); len(n) == 1 && n[fsmpb.DepositState_DEPOSIT_STATE_FINAL] > 0 {
			require.NoError(s.t, d.pass(s.t.Context(), in))
			return
		}
	}
	s.t.Fatalf("not final after 100 blocks: %v, %s", s.states(), s.detail())
}

func TestReorganisationTakesDepositsAway(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 3 })
	s.ask("a", 2)
	d, leader := s.duty(), s.begin()
	start := s.head().Hash()
	require.NoError(t, d.pass(t.Context(), leader))
	s.backend.Commit()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, 2, s.states()[fsmpb.DepositState_DEPOSIT_STATE_MINED])

	s.reorganise(start, 2)
	require.Zero(t, s.count())
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, 2, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SENT])
	s.confirm(d, leader)
	s.requirePaid(2)
	require.Empty(t, s.status())
}

// A deposit that moves to another block is final only there.
func TestReorganisationMovesDeposits(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 3 })
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	start := s.head().Hash()
	require.NoError(t, d.pass(t.Context(), leader))
	s.backend.Commit()
	require.NoError(t, d.pass(t.Context(), leader))
	was := s.only()

	s.reorganise(start, 1)
	require.NoError(t, s.client.SendTransaction(t.Context(), transaction(t, was)))
	s.backend.Commit()
	require.NoError(t, d.pass(t.Context(), leader))
	is := s.only()
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_MINED, is.GetState())
	require.NotEqual(t, was.GetBlockHash(), is.GetBlockHash())
	s.confirm(d, leader)
	s.requirePaid(1)
}

// transaction decodes the logged bytes of a deposit.
func transaction(t *testing.T, d *fsmpb.Deposit) *types.Transaction {
	t.Helper()
	tx := new(types.Transaction)
	require.NoError(t, tx.UnmarshalBinary(d.GetAttempts()[0].GetRaw()))
	return tx
}

// only returns the one deposit there is.
func (s *scene) only() *fsmpb.Deposit {
	s.t.Helper()
	var found *fsmpb.Deposit
	for d := range s.machine.View().Deposits(nil) {
		require.Nil(s.t, found)
		found = d
	}
	return found
}

// Where the chain finalizes blocks itself, nothing else is final.
func TestFinalIsWhatTheChainFinalizes(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 0 })
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	for range 30 {
		s.backend.Commit()
		require.NoError(t, d.pass(t.Context(), leader))
		require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_MINED])
	}
	s.confirm(d, leader)
	require.GreaterOrEqual(t, s.head().Number.Uint64(), uint64(32))
	s.requirePaid(1)
}

// A foreign transaction takes the nonce of a deposit that was logged and did not
// reach the chain. The deposit is lost, which stops everything until an operator
// resumes; then it is made with another nonce.
func TestForeignTransactionTakesANonce(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 3; cfg.InFlight = 1 })
	s.ask("a", 2)
	d, leader := s.duty(), s.begin()
	for range 3 {
		s.backend.Commit() // so that there are final blocks
	}
	s.front.hook(noSending, nil)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SIGNED])

	s.payAt(s.account, 0, common.Address{1}, big.NewInt(1), nil)
	s.backend.Commit()
	s.front.hook(nil, nil)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(ForeignTransaction), s.status())
	require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SIGNED], "it is not final that it is lost")

	for range 4 {
		s.backend.Commit()
		require.NoError(t, d.pass(t.Context(), leader))
	}
	require.Equal(t, string(Stopped), s.status())
	require.Equal(t, map[fsmpb.DepositState]int{fsmpb.DepositState_DEPOSIT_STATE_PLANNED: 2}, s.states())
	require.NoError(t, s.duty().pass(t.Context(), s.begin()), "the next leader")
	require.Zero(t, s.count())

	s.propose(&fsmpb.Command{Body: &fsmpb.Command_SetDepositStatus{SetDepositStatus: &fsmpb.SetDepositStatus{}}})
	require.NoError(t, d.pass(t.Context(), s.begin()))
	require.Equal(t, string(Stopped), s.status(), "nothing but an operator ends it")
	s.resume()
	s.confirm(s.duty(), s.begin())
	require.Equal(t, uint64(2), s.count())
	require.Equal(t, uint64(3), s.nonce(s.address()))
	require.NoError(t, s.machine.View().Check())
}

// Foreign transactions beyond our nonces stop new deposits at once.
func TestForeignTransactionBeyondOurNonces(t *testing.T) {
	t.Parallel()
	for name, mined := range map[string]bool{"mined": true, "pending": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, newChain(t), 1)
			s.ask("a", 1)
			d, leader := s.duty(), s.begin()
			s.settle(d, leader)
			s.pay(s.account, common.Address{1}, big.NewInt(1), nil)
			if mined {
				s.backend.Commit()
			}
			s.ask("b", 1)
			require.NoError(t, d.pass(t.Context(), leader))
			require.Equal(t, map[bool]string{true: string(Stopped), false: string(ForeignTransaction)}[mined], s.status())
			require.Contains(t, s.detail(), "keysteward deposits resume")
			require.Contains(t, s.detail(), "--funding-keystore")
			require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_PLANNED])
		})
	}
}

func TestAccountIsOpenedWhenItIsIdle(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	s.ask("a", 1)
	s.pay(s.account, common.Address{1}, big.NewInt(1), nil)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(PendingTransactions), s.status())
	s.settle(d, leader)
	s.requirePaid(1)
	require.Equal(t, uint64(2), s.nonce(s.address()))
}

// A chain that was reset under the state is noticed.
func TestChainForgotFinalTransactions(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	start := s.head().Hash()
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	s.settle(d, leader)
	s.requirePaid(1)
	s.reorganise(start, 5)
	s.ask("b", 1)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(ChainReset), s.status())
	require.Equal(t, uint64(0), s.count())
}

// What was read of blocks that are gone is read again of those in their place.
func TestReorganisationBringsAForeignDeposit(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 4 })
	start := s.head().Hash()
	for range 3 {
		s.backend.Commit()
	}
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, uint64(4), d.Indexer().Status().NextBlock)

	s.reorganise(start, 0)
	input, wei := s.depositOf(0)
	s.pay(accountKey(stranger), contractAddress, wei, input)
	for range 5 {
		s.backend.Commit()
	}
	s.ask("a", 1)
	require.NoError(t, d.pass(t.Context(), leader))
	s.requireRetired(1)
	require.Zero(t, s.nonce(s.address()))
}
