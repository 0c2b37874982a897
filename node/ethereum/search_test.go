package ethereum

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// deposited has somebody pay for keys of the scene's seed, by hand.
func (s *scene) deposited(indexes ...uint64) {
	s.t.Helper()
	for _, index := range indexes {
		input, wei := s.depositOf(index)
		s.pay(accountKey(stranger), contractAddress, wei, input)
		s.backend.Commit()
		s.before++
	}
}

// adopted lists the indexes of keys that were adopted, all of which must rest.
func (s *scene) adopted() []uint64 {
	s.t.Helper()
	var indexes []uint64
	for k := range s.machine.View().Keys(nil) {
		if k.GetAdopted() == nil {
			continue
		}
		require.Equal(s.t, fsmpb.KeyState_KEY_STATE_RESTING, k.GetState())
		require.Nil(s.t, s.machine.View().Deposit(k.GetPubkey()))
		secret, err := mustSeed(s.t, s).SigningKey(k.GetIndex())
		require.NoError(s.t, err)
		require.Equal(s.t, secret.PublicKey(), validator.PublicKey(k.GetPubkey()))
		require.Contains(s.t, []uint64{validator.MinDepositGwei, validator.ActivationGwei}, k.GetAdopted().GetAmountGwei())
		indexes = append(indexes, k.GetIndex())
	}
	slices.Sort(indexes)
	return indexes
}

// paidIndexes lists the indexes of the keys that deposits were made for.
func (s *scene) paidIndexes() []uint64 {
	var indexes []uint64
	for d := range s.machine.View().Deposits(nil) {
		indexes = append(indexes, s.machine.View().Key(d.GetPubkey()).GetIndex())
	}
	slices.Sort(indexes)
	return indexes
}

// requireOneEach checks that no public key has two events on the chain.
func (s *scene) requireOneEach() {
	s.t.Helper()
	seen := make(map[validator.PublicKey]bool)
	for _, event := range s.events() {
		require.False(s.t, seen[event.PublicKey], "two deposits for %s", event.PublicKey)
		seen[event.PublicKey] = true
	}
}

// A seed that another cluster used is brought to a new one: its keys rest, and a
// request gets others.
func TestSeedOfAnotherCluster(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	first := freshScene(t, c, 1)
	first.ask("a", 3)
	first.settle(first.duty(), first.begin())
	first.requirePaid(3)

	second := freshScene(t, c, 2)
	second.seeds = first.seeds
	d, leader := second.duty(), second.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, []uint64{0, 1, 2}, second.adopted(), "before anybody asks for a key")
	second.ask("b", 2)
	second.settle(d, leader)
	second.requirePaid(2)
	require.Equal(t, []uint64{3, 4}, second.paidIndexes())
	second.requireOneEach()
	require.Empty(t, second.status(), second.detail())

	k := second.machine.View().Key(first.machine.View().Allocation("default", "a").GetKeys()[0])
	second.propose(&fsmpb.Command{Body: &fsmpb.Command_ConfirmStopped{ConfirmStopped: &fsmpb.ConfirmStopped{
		Pubkey: k.GetPubkey(), Fence: k.GetFence(), Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: "op"},
	}}})
	second.ask("c", 1)
	require.Equal(t, [][]byte{k.GetPubkey()}, second.machine.View().Allocation("default", "c").GetKeys(), "it is handed out, without a deposit")
	// Its secret is derived, like that of any other key of the seed.
	next := second.begin()
	require.NoError(t, second.duty().pass(t.Context(), next))
	require.Len(t, second.adoptedKeys(), 3, "a later leader searches no more")
	second.requireOneEach()
}

func (s *scene) adoptedKeys() (keys []*fsmpb.Key) {
	for k := range s.machine.View().Keys(nil) {
		if k.GetAdopted() != nil {
			keys = append(keys, k)
		}
	}
	return keys
}

// The search goes on over a hole of 19 indexes and ends with one of 20. What lies
// behind that is not paid for either: it is found when its turn comes.
func TestSearchGap(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		paid    []uint64
		adopted []uint64
		next    uint64
		to      uint64 // indexes that were looked up
	}{
		"nothing":                   {paid: nil, adopted: nil, next: 0, to: 20},
		"the first":                 {paid: []uint64{0}, adopted: []uint64{0}, next: 1, to: 21},
		"19 before":                 {paid: []uint64{19}, adopted: []uint64{19}, next: 20, to: 40},
		"20 before":                 {paid: []uint64{20}, adopted: nil, next: 0, to: 20},
		"a hole of 19":              {paid: []uint64{2, 22}, adopted: []uint64{2, 22}, next: 23, to: 43},
		"a hole of 20":              {paid: []uint64{2, 23}, adopted: []uint64{2}, next: 3, to: 23},
		"more than one chunk":       {paid: []uint64{15, 30, 45, 60, 75}, adopted: []uint64{15, 30, 45, 60, 75}, next: 76, to: 96},
		"holes below are left over": {paid: []uint64{0, 2, 5}, adopted: []uint64{0, 2, 5}, next: 6, to: 26},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := freshScene(t, newChain(t), 1)
			s.deposited(test.paid...)
			d, leader := s.duty(), s.begin()
			require.NoError(t, d.pass(t.Context(), leader))
			require.Equal(t, test.adopted, s.adopted())
			meta := s.machine.View().Meta()
			require.True(t, meta.GetSeedSearch().GetDone())
			require.Equal(t, test.to, meta.GetSeedSearch().GetNextIndex())
			require.Equal(t, test.next, meta.GetNextIndex())

			s.ask("a", 22) // beyond what was not found
			s.settle(d, leader)
			s.confirm(d, leader)
			require.Len(t, s.machine.View().Allocation("default", "a").GetKeys(), 22)
			s.requirePaid(22)
			s.requireOneEach()
			for _, index := range s.paidIndexes() {
				require.NotContains(t, test.paid, index)
				require.GreaterOrEqual(t, index, test.next)
			}
		})
	}
}

// A deposit that is not final yet keeps the search, and with it all keys, waiting.
func TestSearchWaitsForFinality(t *testing.T) {
	t.Parallel()
	s := freshScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 3 })
	s.deposited(0)
	start := s.head().Hash()
	s.deposited(1, 2)
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(SearchingSeed), s.status(), s.detail())
	require.Contains(t, s.detail(), "key with index 1 of the seed, in block 2, is not final")
	require.Equal(t, []uint64{0}, s.adopted())
	require.Empty(t, s.states(), "no key is generated")

	s.reorganise(start, 4) // the deposits for 1 and 2 are gone for good
	s.before -= 2
	s.settle(d, leader)
	s.confirm(d, leader)
	require.Equal(t, []uint64{0}, s.adopted())
	require.Equal(t, []uint64{1}, s.paidIndexes())
	s.requirePaid(1)
	s.requireOneEach()
}

// Without an execution client keys are generated; the search is made up for before
// anything is signed. A key that was found is taken out of its request.
func TestSearchIsMadeUpFor(t *testing.T) {
	t.Parallel()
	s := freshScene(t, newChain(t), 1)
	s.deposited(1, 3)
	cfg := s.cfg
	s.cfg = Config{}
	s.ask("a", 2)
	require.NoError(t, s.duty().pass(t.Context(), s.begin()))
	require.Equal(t, string(Unconfigured), s.status())
	require.Equal(t, map[fsmpb.DepositState]int{fsmpb.DepositState_DEPOSIT_STATE_PLANNED: 2}, s.states())

	s.cfg = cfg
	d, leader := s.duty(), s.begin()
	leader.before = func(cmd *fsmpb.Command) bool {
		if cmd.GetSignDeposits() != nil {
			require.True(t, s.machine.View().Meta().GetSeedSearch().GetDone(), "signed before the search")
		}
		return true
	}
	s.settle(d, leader)
	require.Equal(t, []uint64{1, 3}, s.adopted())
	require.Equal(t, []uint64{0, 4}, s.paidIndexes())
	s.requirePaid(2)
	s.requireOneEach()
}

// Until the search is done nothing is signed for keys that were generated before,
// and none is retired for a deposit that is ours from before.
func TestNothingIsSignedBeforeTheSearch(t *testing.T) {
	t.Parallel()
	s := freshScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 3 })
	cfg := s.cfg
	s.cfg = Config{}
	s.ask("a", 4)
	require.NoError(t, s.duty().pass(t.Context(), s.begin()))
	s.cfg = cfg
	s.deposited(3)
	for range 3 {
		s.backend.Commit()
	}
	s.deposited(1) // not final
	d, leader := s.duty(), s.begin()
	for range 2 {
		require.NoError(t, d.pass(t.Context(), leader))
		require.Equal(t, string(SearchingSeed), s.status(), s.detail())
		require.Equal(t, map[fsmpb.DepositState]int{fsmpb.DepositState_DEPOSIT_STATE_PLANNED: 4}, s.states())
		require.Zero(t, s.machine.View().Meta().GetKeyCounts()[fsmpb.KeyState_KEY_STATE_RETIRED])
	}
	s.settle(d, leader)
	s.confirm(d, leader)
	require.Equal(t, []uint64{1, 3}, s.adopted())
	require.Equal(t, []uint64{0, 2, 4, 5}, s.paidIndexes())
	s.requirePaid(4)
	s.requireOneEach()
}

// A cluster from before there was a search looks for its own deposits, and leaves
// them as they are.
func TestSearchFindsOurOwnDeposits(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	s.ask("a", 2)
	d, leader := s.duty(), s.begin()
	s.settle(d, leader)
	s.requirePaid(2)
	// As in a cluster that has not searched this chain:
	forget := &fsmpb.AdoptKeys{Search: &fsmpb.SeedSearch{ChainId: 5, GenesisHash: make([]byte, 32), Contract: make([]byte, 20), Done: true}}
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_AdoptKeys{AdoptKeys: forget}})
	s.settle(d, leader)
	require.True(t, s.machine.View().Meta().GetSeedSearch().GetDone())
	require.Equal(t, uint64(simulatedChainID), s.machine.View().Meta().GetSeedSearch().GetChainId())
	require.Empty(t, s.adopted())
	s.ask("b", 1)
	s.settle(d, leader)
	s.requirePaid(3)
}

// The search goes on where a leader that died left it.
func TestSearchIsResumed(t *testing.T) {
	t.Parallel()
	s := freshScene(t, newChain(t), 1)
	s.deposited(10, 25, 40, 55, 70, 85)
	leader := s.begin()
	leader.after = func(cmd *fsmpb.Command) bool { return cmd.GetAdoptKeys() == nil }
	require.ErrorIs(t, s.duty().pass(t.Context(), leader), errOutcomeUnknown)
	to := s.machine.View().Meta().GetSeedSearch().GetNextIndex()
	require.NotZero(t, to)
	s.ask("a", 1)
	s.settle(s.duty(), s.begin())
	require.Equal(t, []uint64{10, 25, 40, 55, 70, 85}, s.adopted())
	require.Equal(t, []uint64{86}, s.paidIndexes())
	late := &fsmpb.AdoptKeys{FirstIndex: to, Search: &fsmpb.SeedSearch{ChainId: simulatedChainID, Done: true}}
	leader.after = nil
	_, err := leader.Propose(t.Context(), &fsmpb.Command{Body: &fsmpb.Command_AdoptKeys{AdoptKeys: late}})
	require.ErrorIs(t, err, fsm.Refused(fsm.StaleSession))
	s.requirePaid(1)
}
