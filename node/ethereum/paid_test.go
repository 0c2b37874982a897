package ethereum

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// toppedUp has somebody add to the stake of the key with this index: anybody can,
// because no signature is needed.
func (s *scene) toppedUp(index uint64) {
	s.t.Helper()
	s.topUp(s.pubkey(index))
}

func (s *scene) topUp(key validator.PublicKey) {
	s.t.Helper()
	input, wei, err := depositCall(validator.DepositData{
		PublicKey: key, Credentials: validator.AddressCredentials([20]byte{1}), AmountGwei: validator.MinDepositGwei,
	})
	require.NoError(s.t, err)
	s.pay(accountKey(stranger), contractAddress, wei, input)
	s.backend.Commit()
	s.before++
}

func (s *scene) pubkey(index uint64) validator.PublicKey {
	s.t.Helper()
	secret, err := mustSeed(s.t, s).SigningKey(index)
	require.NoError(s.t, err)
	return secret.PublicKey()
}

// requireFound checks how many keys the duty found to be paid for by others.
func requireFound(t *testing.T, d *Duty, signed, topUps int) {
	t.Helper()
	require.InDelta(t, signed, testutil.ToFloat64(d.metrics.paid.WithLabelValues("valid")), 0)
	require.InDelta(t, topUps, testutil.ToFloat64(d.metrics.paid.WithLabelValues("other")), 0)
}

// Payments by others for keys that are paid are told, by this leader and the next,
// and other deposits go on.
func TestPaidKeysArePaidByOthers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		pay            func(*scene)
		code           Code
		signed, topUps int
	}{
		"nobody":                     {pay: func(*scene) {}},
		"topped up":                  {func(s *scene) { s.toppedUp(0) }, PaidByOthers, 0, 1},
		"with the secret":            {func(s *scene) { s.deposited(0) }, SeedUsedElsewhere, 1, 0},
		"one key twice":              {func(s *scene) { s.deposited(0, 0) }, SeedUsedElsewhere, 1, 0},
		"both":                       {func(s *scene) { s.toppedUp(0); s.deposited(1) }, SeedUsedElsewhere, 1, 1},
		"a key that is not ours yet": {func(s *scene) { s.toppedUp(1000) }, "", 0, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, newChain(t), 1)
			s.ask("a", 2)
			d, leader := s.duty(), s.begin()
			s.settle(d, leader)
			s.requirePaid(2)
			test.pay(s)
			for _, pod := range []string{"b", "c"} {
				s.ask(pod, 1)
				s.confirm(d, leader)
				require.Equal(t, string(test.code), s.status(), s.detail())
				if test.code != "" {
					require.Contains(t, s.detail(), "deposits of other keys go on")
					require.Contains(t, s.detail(), "keysteward deposits verify")
				}
				requireFound(t, d, test.signed, test.topUps)
				d, leader = s.duty(), s.begin() // finds it again
			}
			s.requireCounts(4)
		})
	}
}

// requireCounts checks that so many deposits are ours and final, and that the
// contract took no other ones than those and somebody else's.
func (s *scene) requireCounts(n int) {
	s.t.Helper()
	require.Equal(s.t, n, s.states()[fsmpb.DepositState_DEPOSIT_STATE_FINAL])
	require.Equal(s.t, s.before+uint64(n), s.count())
	require.NoError(s.t, s.machine.View().Check())
}

// While it is not final that somebody pays with the seed's keys nothing is signed;
// after that deposits go on, whatever became of the key.
func TestSeedInUseHoldsDepositsUp(t *testing.T) {
	t.Parallel()
	for name, vanishes := range map[string]bool{"final": false, "reorganised away": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 4 })
			s.ask("a", 1)
			d, leader := s.duty(), s.begin()
			s.confirm(d, leader)
			start := s.head().Hash()
			s.deposited(0)
			s.ask("b", 1)
			require.NoError(t, d.pass(t.Context(), leader))
			require.Equal(t, string(SeedUsedElsewhere), s.status())
			require.Contains(t, s.detail(), "new deposits go on when that block is final")
			require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_PLANNED])
			if vanishes {
				s.reorganise(start, 1)
				s.before--
			}
			s.confirm(d, leader)
			s.requireCounts(2)
			if vanishes {
				require.Empty(t, s.status())
				requireFound(t, d, 0, 0)
				return
			}
			require.Equal(t, string(SeedUsedElsewhere), s.status())
			require.Contains(t, s.detail(), "in transaction 0x")
		})
	}
}

// The same words in two clusters: both pay for the same key before either can see
// it, and both say so.
func TestSameSeedInTwoClusters(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	first, second := newScene(t, c, 1), newScene(t, c, 2)
	second.seeds = first.seeds
	scenes := []*scene{first, second}
	duties, leaders := make([]*Duty, 2), make([]*session, 2)
	for i, s := range scenes {
		s.ask("a", 1)
		duties[i], leaders[i] = s.duty(), s.begin()
		require.NoError(t, duties[i].pass(t.Context(), leaders[i]))
	}
	for range 3 {
		c.backend.Commit()
		for i, s := range scenes {
			require.NoError(t, duties[i].pass(t.Context(), leaders[i]))
			require.Equal(t, string(SeedUsedElsewhere), s.status(), s.detail())
			require.Contains(t, s.detail(), "stop the other cluster")
			requireFound(t, duties[i], 1, 0)
		}
	}
}

// Owners may add to the stake of keys that they brought; what a seed's key was
// found with is known; a key that is retired is counted and waits for nobody.
func TestPaymentsThatNobodyNeedsToKnow(t *testing.T) {
	t.Parallel()
	t.Run("imported", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, newChain(t), 1)
		key := foreignKeys(t, 1)[0].PublicKey()
		s.propose(&fsmpb.Command{Body: &fsmpb.Command_ImportKeys{ImportKeys: &fsmpb.ImportKeys{
			Keys: []*fsmpb.ImportedKey{{Pubkey: key[:], Sealed: []byte("sealed")}},
		}}})
		s.topUp(key)
		d, leader := s.duty(), s.begin()
		s.settle(d, leader)
		require.Empty(t, s.status())
		requireFound(t, d, 0, 0)
	})
	t.Run("adopted", func(t *testing.T) {
		t.Parallel()
		s := freshScene(t, newChain(t), 1)
		s.deposited(0)
		d, leader := s.duty(), s.begin()
		s.settle(d, leader)
		require.Equal(t, []uint64{0}, s.adopted())
		require.Empty(t, s.status())
		requireFound(t, d, 0, 0)
		s.toppedUp(0)
		s.settle(d, leader)
		require.Equal(t, string(PaidByOthers), s.status(), "another payment")
		requireFound(t, d, 0, 1)
	})
	t.Run("retired", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, newChain(t), 1)
		s.ask("a", 1)
		d, leader := s.duty(), s.begin()
		s.settle(d, leader)
		s.deposited(0)
		s.settle(d, leader)
		require.Equal(t, string(SeedUsedElsewhere), s.status())
		key := s.pubkey(0)
		s.propose(&fsmpb.Command{Body: &fsmpb.Command_RetireKeys{RetireKeys: &fsmpb.RetireKeys{
			Pubkeys: [][]byte{key[:]}, Reason: fsm.RetiredOperator, Detail: "paid twice", Force: true,
		}}})
		s.settle(d, leader)
		require.Empty(t, s.status(), s.detail())
		requireFound(t, d, 1, 0)
	})
}

// All keys are looked up in turns, and again if the index took in too much at once.
func TestSweepGoesOn(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	s.ask("a", 5)
	d, leader := s.duty(), s.begin()
	s.settle(d, leader)
	s.requirePaid(5)
	require.True(t, d.paid.swept)
	for index := range uint64(5) {
		s.toppedUp(index)
	}
	p := &pass{duty: d, session: leader, view: leader.View()}
	require.NoError(t, p.look(t.Context()))
	require.NoError(t, p.readEvents(t.Context()))
	added, overflow := d.events.drain()
	require.Len(t, added, 5)
	require.False(t, overflow)
	d.paid = paidByOthers{}
	for n := range 3 {
		require.Len(t, d.paid.found, 2*n)
		require.NoError(t, p.sweep(leader.View(), 2))
	}
	require.Len(t, d.paid.found, 5)
	require.True(t, d.paid.swept)

	d.paid.found = nil
	d.events.remember(make([]seenEvent, mostAdded+1))
	require.NoError(t, p.findPaid(t.Context()))
	require.Len(t, d.paid.found, 5)
	added, overflow = d.events.drain()
	require.Empty(t, added)
	require.False(t, overflow)
}

// A client that does not show the event any more leaves it open who made it, as
// long as its block may be gone.
func TestFindingOfABlockThatIsGone(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	d, leader := s.duty(), s.begin()
	s.settle(d, leader)
	p := &pass{duty: d, session: leader, view: leader.View()}
	require.NoError(t, p.look(t.Context()))
	f := &finding{place: place{BlockNumber: 1 << 20, BlockHash: common.Hash{1}}}
	require.NoError(t, p.checkSignatures(t.Context(), []*finding{f}))
	require.False(t, f.checked)
	f.final = true
	require.NoError(t, p.checkSignatures(t.Context(), []*finding{f}))
	require.True(t, f.checked)
	require.Equal(t, PaidByOthers, f.code())
}
