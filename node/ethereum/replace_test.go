package ethereum

import (
	"context"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/params"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func isSending(call rpcCall) bool { return call.Method == "eth_sendRawTransaction" }

// stuckScene has one deposit that the client refuses to take, until release.
func stuckScene(t *testing.T, changes ...func(*Config)) (s *scene, d *Duty, leader *session) {
	t.Helper()
	s = newScene(t, newChain(t), 1, append(changes, func(cfg *Config) { cfg.ReplaceAfter = 2 })...)
	s.ask("a", 1)
	d, leader = s.duty(), s.begin()
	s.front.refusing(isSending)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Len(t, s.only().GetAttempts(), 1)
	return s, d, leader
}

// attempts decodes what was logged of the only deposit.
func (s *scene) attempts() []*types.Transaction {
	s.t.Helper()
	var list []*types.Transaction
	for _, a := range s.only().GetAttempts() {
		tx := new(types.Transaction)
		require.NoError(s.t, tx.UnmarshalBinary(a.GetRaw()))
		list = append(list, tx)
	}
	return list
}

func TestStuckDepositIsReplaced(t *testing.T) {
	t.Parallel()
	s, d, leader := stuckScene(t)
	s.backend.Commit()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Len(t, s.only().GetAttempts(), 1, "not so soon")
	s.backend.Commit()
	require.NoError(t, d.pass(t.Context(), leader))
	attempts := s.attempts()
	require.Len(t, attempts, 2)
	first, second := attempts[0], attempts[1]
	require.Equal(t, first.Nonce(), second.Nonce())
	require.Equal(t, first.Data(), second.Data())
	require.Equal(t, first.Value(), second.Value())
	require.Equal(t, first.To(), second.To())
	for _, fee := range []func(*types.Transaction) *big.Int{(*types.Transaction).GasFeeCap, (*types.Transaction).GasTipCap} {
		least := new(big.Int).Div(new(big.Int).Mul(fee(first), big.NewInt(1125)), big.NewInt(1000))
		require.GreaterOrEqual(t, fee(second).Cmp(least), 0, "%s after %s", fee(second), fee(first))
	}
	require.NoError(t, d.pass(t.Context(), leader))
	require.Len(t, s.only().GetAttempts(), 2, "the second gets its time")

	s.front.refusing(nil)
	s.settle(d, leader)
	require.Equal(t, second.Hash().Bytes(), s.only().GetTxHash())
	s.requirePaid(1)
}

// The first transaction was in the client's pool all the time.
func TestAnEarlierAttemptLands(t *testing.T) {
	t.Parallel()
	s, d, leader := stuckScene(t)
	for range 4 {
		s.backend.Commit()
		require.NoError(t, d.pass(t.Context(), leader))
	}
	attempts := s.attempts()
	require.Greater(t, len(attempts), 2)
	require.NoError(t, s.client.SendTransaction(t.Context(), attempts[1]))
	s.settle(d, leader)
	require.Equal(t, attempts[1].Hash().Bytes(), s.only().GetTxHash())
	s.requirePaid(1)
	require.Equal(t, uint64(1), s.nonce(s.address()))
}

// A real pool takes the replacement in the place of the first, and refuses the
// first when somebody sends it late.
func TestReplacementInTheClientsPool(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	s.backend.Commit()
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_SENT, s.only().GetState())
	d.cfg.ReplaceAfter = 0
	require.NoError(t, d.pass(t.Context(), leader))
	require.Empty(t, s.status(), s.detail())
	attempts := s.attempts()
	require.Len(t, attempts, 2)
	require.Error(t, s.client.SendTransaction(t.Context(), attempts[0]))
	s.backend.Commit()
	d.cfg.ReplaceAfter = DefaultReplaceAfter
	s.settle(d, leader)
	require.Equal(t, attempts[1].Hash().Bytes(), s.only().GetTxHash())
	s.requirePaid(1)
}

// The cap is never passed, and the status says that it is in the way.
func TestFeeCap(t *testing.T) {
	t.Parallel()
	const most = 4 * params.GWei
	s, d, leader := stuckScene(t, func(cfg *Config) { cfg.MaxFeeWei = most })
	for range 40 {
		s.backend.Commit()
		require.NoError(t, d.pass(t.Context(), leader))
	}
	attempts := s.attempts()
	require.Greater(t, len(attempts), 1)
	require.Less(t, len(attempts), 15)
	for _, tx := range attempts {
		require.LessOrEqual(t, tx.GasFeeCap().Uint64(), uint64(most))
	}
	s.settle(d, leader)
	require.Equal(t, string(FeeCapReached), s.status(), s.detail())
	require.Contains(t, s.detail(), "--max-fee-gwei 4")

	s.cfg.MaxFeeWei = 100 * params.GWei
	s.front.refusing(nil)
	s.settle(s.duty(), leader)
	s.requirePaid(1)
	require.Empty(t, s.status())
}

// What raised fees cost is not promised to others.
func TestReplacementIsNotAffordable(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), poorAccount, func(cfg *Config) { cfg.ReplaceAfter = 1 })
	money := new(big.Int).Add(ether(32), big.NewInt(2e15))
	s.pay(accountKey(stranger), s.address(), money, nil)
	s.backend.Commit()
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	s.front.refusing(isSending)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_SIGNED, s.only().GetState(), s.detail())
	seen := map[string]bool{}
	for range 20 {
		s.backend.Commit()
		require.NoError(t, d.pass(t.Context(), leader))
		last := s.attempts()[len(s.attempts())-1]
		require.LessOrEqual(t, last.Cost().Cmp(money), 0, "more than the account has")
		if seen[s.status()] = true; seen[string(InsufficientFunds)] {
			break
		}
	}
	require.Contains(t, seen, string(InsufficientFunds))
	s.front.refusing(nil)
	s.settle(d, leader)
	s.requirePaid(1)
}

// All attempts of a nonce that was used by somebody else are lost together, and
// count as one loss.
func TestAllAttemptsAreLost(t *testing.T) {
	t.Parallel()
	s, d, leader := stuckScene(t)
	for range 6 {
		s.backend.Commit()
		require.NoError(t, d.pass(t.Context(), leader))
	}
	n := len(s.only().GetAttempts())
	require.GreaterOrEqual(t, n, mostLosses)
	s.payAt(s.account, 0, contractAddress, new(big.Int), []byte{1}) // reverts
	s.backend.Commit()
	require.NoError(t, d.pass(t.Context(), leader))
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(Stopped), s.status())
	require.Len(t, s.only().GetLosses(), n)
	s.front.refusing(nil)
	s.resume()
	s.settle(d, leader)
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_FINAL, s.only().GetState(), s.detail())
	require.Equal(t, s.before+1, s.count())
	require.NoError(t, s.machine.View().Check())
}

func TestRaised(t *testing.T) {
	t.Parallel()
	require.Equal(t, big.NewInt(9), raised(8))
	require.Equal(t, big.NewInt(11), raised(9))
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(1, 1<<62).Draw(t, "wei")
		more := new(big.Int).Mul(raised(n), big.NewInt(1000))
		require.GreaterOrEqual(t, more.Cmp(new(big.Int).Mul(new(big.Int).SetUint64(n), big.NewInt(1125))), 0)
	})
}

// silent is a signer that is out of reach.
type silent struct{ wallet }

func (silent) SignTx(context.Context, *types.Transaction, *big.Int) (*types.Transaction, error) {
	return nil, ErrSignerUnavailable
}

// Without the signer nothing is replaced, and what was signed is sent.
func TestReplacementWithoutTheSigner(t *testing.T) {
	t.Parallel()
	s, _, leader := stuckScene(t)
	signer := s.cfg.Funding
	s.cfg.Funding = silent{wallet{s.account}}
	s.front.refusing(nil)
	s.front.hook(noSending, nil)
	d := s.duty()
	for range 3 {
		s.backend.Commit()
		require.NoError(t, d.pass(t.Context(), leader))
	}
	require.Len(t, s.only().GetAttempts(), 1)
	require.Equal(t, string(SignerUnavailable), s.status(), s.detail())
	s.front.hook(nil, nil)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_SENT, s.only().GetState())
	s.cfg.Funding = signer
	s.settle(s.duty(), leader)
	s.requirePaid(1)
}
