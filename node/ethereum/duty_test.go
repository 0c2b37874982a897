package ethereum

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestPaysEveryKeyOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	s.ask("a", 12)
	s.ask("b", 8)
	d, leader := s.duty(), s.begin()

	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, map[fsmpb.DepositState]int{
		fsmpb.DepositState_DEPOSIT_STATE_SENT: 16, fsmpb.DepositState_DEPOSIT_STATE_PLANNED: 4,
	}, s.states(), "status %s", s.detail())

	s.settle(d, leader)
	s.requirePaid(20)
	require.Empty(t, s.status())
	require.Len(t, s.machine.View().Allocation("default", "a").GetKeys(), 12)
	require.Len(t, s.machine.View().Allocation("default", "b").GetKeys(), 8)
}
