package ethereum

import (
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

func noForward([]string) bool { return false }

// noSending loses every request that sends transactions.
func noSending(methods []string) bool { return !slices.Contains(methods, "eth_sendRawTransaction") }

func TestChainIsDownAndComesBack(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.RPC[0] += "/v3/access-key" })
	s.ask("a", 2)
	d, leader := s.duty(), s.begin()
	s.front.hook(noForward, nil)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(ChainUnreachable), s.status())
	require.NotContains(t, s.detail(), "access-key")
	require.Zero(t, s.nonce(s.address()))

	applied := s.machine.View().Meta().GetAppliedIndex()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, applied, s.machine.View().Meta().GetAppliedIndex(), "the same status was reported twice")

	s.front.hook(nil, nil)
	s.settle(d, leader)
	s.requirePaid(2)
	require.Empty(t, s.status())
}

func TestWrongWorlds(t *testing.T) {
	t.Parallel()
	c := newChain(t, func(alloc types.GenesisAlloc) {
		alloc[common.Address{0xaa}] = types.Account{Code: []byte{0x00}, Balance: new(big.Int)}
	})
	tests := map[string]struct {
		code    Code
		detail  string
		change  func(*Config)
		prepare func(*scene)
	}{
		"wrong chain ID": {
			code: WrongChainID, detail: "1337",
			change: func(cfg *Config) { cfg.Network.ChainID = 1338 },
		},
		"no contract": {
			code: ContractMissing, detail: "no contract",
			change: func(cfg *Config) { cfg.Network.DepositContract[0] ^= 1 },
		},
		"another contract": {
			code: ContractMissing, detail: "does not count",
			change: func(cfg *Config) { cfg.Network.DepositContract = [20]byte{0xaa} },
		},
		"another genesis": {
			code: ForeignGenesis, detail: "0x0101",
			prepare: func(s *scene) {
				s.propose(&fsmpb.Command{Body: &fsmpb.Command_OpenAccount{OpenAccount: &fsmpb.OpenAccount{Account: &fsmpb.Account{
					ChainId: simulatedChainID, Address: make([]byte, 20), GenesisHash: slices.Repeat([]byte{1}, 32),
				}}}})
			},
		},
		"unconfigured": {
			code: Unconfigured, detail: "no execution client",
			change: func(cfg *Config) { *cfg = Config{} },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, c, 1)
			if test.change != nil {
				test.change(&s.cfg)
			}
			s.ask("a", 1)
			if test.prepare != nil {
				test.prepare(s)
			}
			require.NoError(t, s.duty().pass(t.Context(), s.begin()))
			require.Equal(t, string(test.code), s.status(), s.detail())
			require.Contains(t, s.detail(), test.detail)
			states := s.states() // keys are planned for only where the seed was searched
			delete(states, fsmpb.DepositState_DEPOSIT_STATE_PLANNED)
			require.Empty(t, states)
		})
	}
}

func TestSeedIsNotThere(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	for want, err := range map[Code]error{SeedMissing: ErrNoSeed, Sealed: ErrSealed} {
		t.Run(string(want), func(t *testing.T) {
			t.Parallel()
			s := newScene(t, c, 1)
			s.seeds.err = errors.Join(err)
			s.ask("a", 1)
			require.NoError(t, s.duty().pass(t.Context(), s.begin()))
			require.Equal(t, string(want), s.status())
		})
	}
}

// Another seed than the one that made the keys never signs a deposit for them.
func TestSeedIsAnother(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.InFlight = 1 })
	s.ask("a", 2)
	leader := s.begin()
	require.NoError(t, s.duty().pass(t.Context(), leader))
	s.seeds.number = 77
	s.settle(s.duty(), leader)
	require.Equal(t, string(SeedMismatch), s.status())
	require.Equal(t, uint64(1), s.count())
}

func TestTooLittleMoney(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), poorAccount)
	s.ask("a", 3)
	d, leader := s.duty(), s.begin()
	s.settle(d, leader)
	require.Equal(t, string(InsufficientFunds), s.status())
	require.Contains(t, s.detail(), "has 0 ETH")
	require.Contains(t, s.detail(), "96.0")

	s.pay(accountKey(stranger), s.address(), ether(70), nil)
	s.settle(d, leader)
	require.Equal(t, string(InsufficientFunds), s.status())
	require.Equal(t, map[fsmpb.DepositState]int{
		fsmpb.DepositState_DEPOSIT_STATE_FINAL: 2, fsmpb.DepositState_DEPOSIT_STATE_PLANNED: 1,
	}, s.states())

	s.pay(accountKey(stranger), s.address(), ether(70), nil)
	s.settle(d, leader)
	s.requirePaid(3)
	require.Empty(t, s.status())
}

// What deposits in flight will take is not promised to others.
func TestMoneyInFlightIsReserved(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), poorAccount, func(cfg *Config) { cfg.InFlight = 1 })
	s.pay(accountKey(stranger), s.address(), ether(33), nil)
	s.backend.Commit()
	s.ask("a", 2)
	leader := s.begin()
	require.NoError(t, s.duty().pass(t.Context(), leader))
	s.cfg.InFlight = 2
	require.NoError(t, s.duty().pass(t.Context(), leader))
	require.Equal(t, string(InsufficientFunds), s.status())
	require.Equal(t, map[fsmpb.DepositState]int{
		fsmpb.DepositState_DEPOSIT_STATE_SENT: 1, fsmpb.DepositState_DEPOSIT_STATE_PLANNED: 1,
	}, s.states())
}

// countThen is a contract that counts zero deposits and does as told with calls
// that are longer: the bytes after the first 7 are where the rest begins.
func countThen(rest string) func(types.GenesisAlloc) {
	const answer = "5b60206000526008602052606060" + "00f3"
	code := common.FromHex("36600414" + "60ff57" + rest)
	code[5] = byte(len(code))
	code = append(code, common.FromHex(answer)...)
	return func(alloc types.GenesisAlloc) {
		alloc[contractAddress] = types.Account{Code: code, Balance: new(big.Int)}
	}
}

func TestContractWouldRevert(t *testing.T) {
	t.Parallel()
	// revert with Error("closed")
	c := newChain(t, countThen("6308c379a060e01b6000526020600452600660245265636c6f73656460d01b60445260646000fd"))
	s := newScene(t, c, 1)
	s.ask("a", 2)
	d, leader := s.duty(), s.begin()
	s.settle(d, leader)
	require.Equal(t, string(ContractReverts), s.status())
	require.Contains(t, s.detail(), "closed")
	require.Zero(t, s.nonce(s.address()), "a transaction was paid for")
}

// The contract changes its mind between the rehearsal and the block: the gas is
// lost, the stake is not, and the deposit is planned again once that is final.
func TestContractReverts(t *testing.T) {
	t.Parallel()
	// revert in blocks with an odd number: NUMBER 1 AND 0x0c... JUMPI STOP JUMPDEST REVERT
	c := newChain(t, countThen("4360011660"+"0e"+"57"+"00"+"5b60006000fd"))
	now := time.Unix(0, 0)
	s := newScene(t, c, 1, func(cfg *Config) {
		cfg.Confirmations = 2
		cfg.Now = func() time.Time { now = now.Add(detailPause); return now }
	})
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SENT], s.detail())
	s.backend.Commit()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SENT], "it is not final that it was reverted")
	require.Equal(t, string(ContractReverts), s.status())
	s.backend.Commit()
	require.NoError(t, d.pass(t.Context(), leader))
	var lost *fsmpb.Deposit
	for lost = range s.machine.View().Deposits(nil) {
		require.Len(t, lost.GetLosses(), 1)
	}
	require.Equal(t, "reverted in block 1", lost.GetLosses()[0].GetReason())

	for range 12 * mostLosses {
		s.backend.Commit()
		require.NoError(t, d.pass(t.Context(), leader))
	}
	require.Contains(t, s.detail(), "was lost 3 times")
	require.Equal(t, uint64(mostLosses), s.nonce(s.address()), "gas is spent without end")
	require.NoError(t, s.machine.View().Check())
}

// A contract that takes money and emits nothing gets no second deposit.
func TestContractEmitsNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t, countThen("00")), 1, func(cfg *Config) { cfg.InFlight = 1 })
	s.ask("a", 2)
	d, leader := s.duty(), s.begin()
	s.settle(d, leader)
	s.settle(d, leader)
	require.Equal(t, string(EventMissing), s.status())
	require.Equal(t, uint64(1), s.nonce(s.address()))
	require.Equal(t, map[fsmpb.DepositState]int{
		fsmpb.DepositState_DEPOSIT_STATE_SENT: 1, fsmpb.DepositState_DEPOSIT_STATE_PLANNED: 1,
	}, s.states())
}

// depositOf makes the deposit of the scene's key with this index, as anybody can
// who has seen it once.
func (s *scene) depositOf(index uint64) (input []byte, wei *big.Int) {
	s.t.Helper()
	seed, err := s.seeds.Seed(s.t.Context())
	require.NoError(s.t, err)
	key, err := seed.SigningKey(index)
	require.NoError(s.t, err)
	data, err := validator.NewDepositData(key, validator.AddressCredentials([20]byte{1}), validator.MinDepositGwei, s.cfg.Network.ForkVersion)
	require.NoError(s.t, err)
	input, wei, err = depositCall(data)
	require.NoError(s.t, err)
	return input, wei
}

func TestSomebodyElsePaid(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	input, wei := s.depositOf(0)
	s.pay(accountKey(stranger), contractAddress, wei, input)
	s.ask("a", 2)
	d, leader := s.duty(), s.begin()
	s.settle(d, leader)
	require.Empty(t, s.status())
	s.before++ // somebody else's
	s.requirePaid(2)
	require.Len(t, s.machine.View().Allocation("default", "a").GetKeys(), 2, "the pod has its keys")
	s.requireRetired(1)
}

// requireRetired checks that so many keys are out of use, without a deposit.
func (s *scene) requireRetired(n int) {
	s.t.Helper()
	for k := range s.machine.View().Keys(nil) {
		if k.GetState() == fsmpb.KeyState_KEY_STATE_RETIRED {
			require.Nil(s.t, s.machine.View().Deposit(k.GetPubkey()))
			require.Equal(s.t, fsm.RetiredForeign, k.GetRetiredReason())
			require.Contains(s.t, k.GetRetiredDetail(), "not ours, in transaction 0x")
			n--
		}
	}
	require.Zero(s.t, n, "retired keys")
}

// Nothing is retired before it is final.
func TestSomebodyElsePaidIsNotFinal(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 3 })
	input, wei := s.depositOf(0)
	s.pay(accountKey(stranger), contractAddress, wei, input)
	s.backend.Commit()
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(SeedUsedElsewhere), s.status())
	s.backend.Commit()
	require.NoError(t, d.pass(t.Context(), leader))
	s.requireRetired(0)
	s.backend.Commit()
	require.NoError(t, d.pass(t.Context(), leader))
	s.requireRetired(1)
	s.confirm(d, leader)
	s.before++
	s.requirePaid(1)
}

// Somebody else's deposit that was reorganised away counts until that is final.
func TestSomebodyElsesPaymentVanished(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 3 })
	start := s.head().Hash()
	input, wei := s.depositOf(0)
	s.pay(accountKey(stranger), contractAddress, wei, input)
	s.backend.Commit()
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(SeedUsedElsewhere), s.status())
	s.reorganise(start, 2)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(SeedUsedElsewhere), s.status())
	s.confirm(d, leader)
	s.requirePaid(1)
	require.Empty(t, s.status())
}
