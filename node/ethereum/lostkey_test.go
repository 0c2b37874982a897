package ethereum

import (
	"encoding/json"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// passes makes passes with a block before each, until the status has this code.
func (s *scene) passes(d *Duty, in Session, until Code) {
	s.t.Helper()
	for range 20 {
		s.backend.Commit()
		require.NoError(s.t, d.pass(s.t.Context(), in))
		if s.status() == string(until) {
			return
		}
	}
	s.t.Fatalf("still %s: %s", s.status(), s.detail())
}

// logged has a scene whose first deposit was logged and not sent.
func logged(t *testing.T, keys uint32) (*scene, *Duty, *session) {
	t.Helper()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 3; cfg.InFlight = 1 })
	s.ask("a", keys)
	d, leader := s.duty(), s.begin()
	for range 3 {
		s.backend.Commit() // so that there are final blocks
	}
	s.front.hook(noSending, nil)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SIGNED])
	return s, d, leader
}

// Somebody pays for the key of a signed deposit by hand, from the funding account
// and with the deposit's own nonce. The deposit is lost and its key retired, never
// to be paid for again, and once an operator resumes the others go on.
func TestNonceUsedToPayTheSameKey(t *testing.T) {
	t.Parallel()
	for name, account := range map[string]int{"from the funding account": 1, "and from another one": stranger} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, d, leader := logged(t, 2)
			input, wei := s.depositOf(0)
			if account == stranger {
				s.payAt(s.account, 0, common.Address{1}, big.NewInt(1), nil)
				s.pay(accountKey(stranger), contractAddress, wei, input)
			} else {
				s.payAt(s.account, 0, contractAddress, wei, input)
			}
			s.before++
			s.backend.Commit()
			s.front.hook(nil, nil)
			require.NoError(t, d.pass(t.Context(), leader))
			require.Equal(t, string(ForeignTransaction), s.status(), s.detail())
			require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SIGNED], "it is not final that it is lost")

			s.passes(d, leader, Stopped)
			d, leader = s.duty(), s.begin()
			require.NoError(t, d.pass(t.Context(), leader))
			key := s.pubkey(0)
			require.Equal(t, fsmpb.KeyState_KEY_STATE_RETIRED, s.machine.View().Key(key[:]).GetState())
			s.resume()
			s.settle(d, leader)
			for range 5 {
				s.settle(d, leader)
			}
			require.Empty(t, s.status(), s.detail())
			s.requireCounts(2)
			s.requireOneEach()
			require.Len(t, s.machine.View().Allocation("default", "a").GetKeys(), 2)
			require.Equal(t, uint64(3), s.nonce(s.address()))
		})
	}
}

// Our deposit was mined, its block was reorganised away, and something else used
// the nonce: the event that was seen contradicts nothing once its absence is final,
// and the key is paid for with another nonce.
func TestNonceUsedAfterAReorganisation(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 4; cfg.InFlight = 1 })
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	for range 3 {
		s.backend.Commit()
	}
	start := s.head().Hash()
	require.NoError(t, d.pass(t.Context(), leader))
	s.backend.Commit()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_MINED])

	s.reorganise(start, 0)
	s.payAt(s.account, 0, common.Address{1}, big.NewInt(1), nil)
	s.backend.Commit()
	s.passes(d, leader, Stopped)
	s.resume()
	s.confirm(s.duty(), s.begin())
	require.Empty(t, s.status(), s.detail())
	s.requireCounts(1)
	s.requireOneEach()
	require.Equal(t, uint64(2), s.nonce(s.address()))
}

// hidingReceipts is a client that did not index our transactions.
func hidingReceipts(call rpcCall, result json.RawMessage) json.RawMessage {
	if call.Method == "eth_getTransactionReceipt" {
		return json.RawMessage("null")
	}
	return result
}

// A client without the receipt of our own deposit is not believed that it is lost,
// however long it says so. Another account's deposits go on.
func TestReceiptIsMissing(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 3; cfg.InFlight = 1 })
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	for range 3 {
		s.backend.Commit()
	}
	require.NoError(t, d.pass(t.Context(), leader))
	s.front.changing(hidingReceipts)
	s.passes(d, leader, ReceiptsMissing)
	require.Contains(t, s.detail(), "has no receipt of it")
	require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SENT])

	s.ask("b", 1)
	s.cfg.Funding, s.cfg.InFlight = wallet{accountKey(2)}, 2
	other := s.duty()
	require.NoError(t, other.pass(t.Context(), leader))
	require.Equal(t, string(ReceiptsMissing), s.status())
	require.Equal(t, 2, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SENT], "one of another account")
	s.front.changing(nil)
	s.confirm(other, leader)
	s.requireCounts(2)
	s.requireOneEach()
}
