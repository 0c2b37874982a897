package ethereum

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// passFrom makes one pass of a duty that reads events from this block on.
func (s *scene) passFrom(start uint64, word bool, in Session) *Duty {
	s.t.Helper()
	s.cfg.StartBlock, s.cfg.UnusedBefore = start, word
	d := s.duty()
	require.NoError(s.t, d.pass(s.t.Context(), in))
	return d
}

// A used seed and a start block behind its deposits: nothing is paid before the
// operator says that there are none, or lets them be read.
func TestStartBlockBehindDepositsOfTheSeed(t *testing.T) {
	t.Parallel()
	s := freshScene(t, newChain(t), 1)
	s.deposited(0, 1, 2)
	leader := s.begin()
	s.ask("a", 2)
	s.backend.Commit()
	s.passFrom(s.head().Number.Uint64(), false, leader)
	require.Equal(t, string(EarlierUnknown), s.status(), s.detail())
	require.Contains(t, s.detail(), "took 3 deposits before --deposit-start-block 4")
	require.Contains(t, s.detail(), "--seed-unused-before-start-block")
	require.Empty(t, s.states(), "no key is generated")
	require.Zero(t, s.machine.View().Meta().GetSeedSearch().GetNextIndex())

	s.settle(s.passFrom(0, false, leader), leader)
	require.Equal(t, []uint64{0, 1, 2}, s.adopted())
	require.Equal(t, []uint64{3, 4}, s.paidIndexes())
	s.requirePaid(2)
	s.requireOneEach()
	require.Empty(t, s.status(), s.detail())

	s.ask("b", 1)
	d := s.passFrom(s.head().Number.Uint64(), false, leader)
	require.Equal(t, string(EarlierUnknown), s.status(), "a search that is done does not know keys that it did not come to")
	require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_PLANNED])
	s.backend.Commit()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_PLANNED])
}

// A word that was wrong is mended by an earlier start block: the seed is searched
// anew, what is known stays, and nothing is forgotten by leaders that know less.
func TestEarlierStartBlockSearchesAnew(t *testing.T) {
	t.Parallel()
	s := freshScene(t, newChain(t), 1)
	s.deposited(0, 1, 5) // in blocks 1 to 3
	leader := s.begin()
	s.ask("a", 1)
	s.settle(s.passFrom(3, true, leader), leader)
	require.Equal(t, []uint64{5}, s.adopted())
	require.Equal(t, []uint64{6}, s.paidIndexes())
	require.Equal(t, uint64(3), s.machine.View().Meta().GetSeedSearch().GetStartBlock())

	for _, start := range []uint64{2, 1} { // block 1 holds the first deposit, so nothing is before it
		s.settle(s.passFrom(start, start > 1, leader), leader)
		require.Empty(t, s.status(), s.detail())
		require.True(t, s.machine.View().Meta().GetSeedSearch().GetDone())
		require.Equal(t, map[uint64][]uint64{2: {1, 5}, 1: {0, 1, 5}}[start], s.adopted())
	}
	require.Zero(t, s.machine.View().Meta().GetSeedSearch().GetStartBlock(), "all events are known")
	applied := s.machine.View().Meta().GetSeedSearch().GetBlockNumber()
	s.ask("b", 1)
	for _, start := range []uint64{0, 3} {
		s.settle(s.passFrom(start, start > 0, leader), leader)
	}
	require.Equal(t, applied, s.machine.View().Meta().GetSeedSearch().GetBlockNumber(), "it was searched again")
	require.Equal(t, []uint64{6, 7}, s.paidIndexes())
	s.requirePaid(2)
	s.requireOneEach()
}

// No deposit before the start block needs no word, and leaves nothing unknown.
func TestStartBlockBeforeTheFirstDeposit(t *testing.T) {
	t.Parallel()
	s := freshScene(t, newChain(t), 1)
	s.backend.Commit()
	s.backend.Commit()
	s.deposited(0) // in block 3
	leader := s.begin()
	s.ask("a", 1)
	s.settle(s.passFrom(3, false, leader), leader)
	require.Equal(t, []uint64{0}, s.adopted())
	require.Zero(t, s.machine.View().Meta().GetSeedSearch().GetStartBlock())
	s.requirePaid(1)
	s.requireOneEach()
}
