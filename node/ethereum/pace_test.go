package ethereum

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const (
	planned = fsmpb.DepositState_DEPOSIT_STATE_PLANNED
	signed  = fsmpb.DepositState_DEPOSIT_STATE_SIGNED
	sentOff = fsmpb.DepositState_DEPOSIT_STATE_SENT
	final   = fsmpb.DepositState_DEPOSIT_STATE_FINAL
)

// hours lets cluster time pass.
func (s *scene) hours(n int) {
	s.t.Helper()
	for range n * 60 {
		s.propose(&fsmpb.Command{Body: &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: fsm.MaxTickMS}}})
	}
}

// The limit holds over leaders, and names the time at which the next deposit may go.
func TestDailyLimit(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) {
		cfg.MaxPerDay, cfg.InFlight = 3, 2
		cfg.Now = func() time.Time { return time.Date(2030, 1, 1, 10, 0, 1, 0, time.UTC) }
	})
	s.hours(30)
	s.ask("a", 2)
	s.settle(s.duty(), s.begin())
	require.Equal(t, map[fsmpb.DepositState]int{final: 2}, s.states())
	require.Empty(t, s.status())

	s.hours(4)
	s.ask("b", 5)
	s.settle(s.duty(), s.begin())
	require.Equal(t, map[fsmpb.DepositState]int{final: 3, planned: 4}, s.states(), "three a day")
	require.Equal(t, string(DailyLimit), s.status())
	require.Contains(t, s.detail(), "--max-deposits-per-day 3")
	require.Contains(t, s.detail(), "2030-01-02 06:01 UTC", "20 hours from now, rounded up")
	s.settle(s.duty(), s.begin())
	require.Equal(t, 4, s.states()[planned], "a new leader begins to count anew")
	s.cfg.MaxPerDay = 1
	require.NoError(t, s.duty().pass(t.Context(), s.begin()))
	require.Contains(t, s.detail(), "2030-01-02 10:01 UTC", "the last of them must be a day old too")
	s.cfg.MaxPerDay = 3

	s.hours(20)
	s.settle(s.duty(), s.begin())
	require.Equal(t, map[fsmpb.DepositState]int{final: 5, planned: 2}, s.states(), "two are a day old, one is not")
	s.cfg.MaxPerDay = 0
	s.settle(s.duty(), s.begin())
	s.requirePaid(7)
	require.Empty(t, s.status())
}

// A transaction that is replaced needs no place of its own, also at the limit.
func TestDailyLimitCountsDepositsOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.MaxPerDay, cfg.ReplaceAfter, cfg.Confirmations = 1, 1, 3 })
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	for range 3 {
		s.backend.Commit() // so that there are final blocks
	}
	s.front.refusing(s.cheap)
	for range 3 {
		require.NoError(t, d.pass(t.Context(), leader))
		s.backend.Commit()
	}
	require.Len(t, s.only().GetAttempts(), 2)
	s.front.refusing(nil)
	s.confirm(d, leader)
	s.requirePaid(1)
}

// With deposits off nothing is signed or generated; what was signed is carried to
// its end.
func TestDepositsOff(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.InFlight = 1 })
	s.ask("a", 2)
	require.NoError(t, s.duty().pass(t.Context(), s.begin()))
	require.Equal(t, map[fsmpb.DepositState]int{sentOff: 1, planned: 1}, s.states())

	s.cfg.Off = true
	s.settle(s.duty(), s.begin())
	require.Equal(t, map[fsmpb.DepositState]int{final: 1, planned: 1}, s.states())
	require.Equal(t, string(DepositsOff), s.status())
	require.Contains(t, s.detail(), "--deposits off")
	require.True(t, s.machine.View().DepositStatus().GetFunds().GetDepositsOff())
	s.ask("b", 3)
	s.settle(s.duty(), s.begin())
	require.Equal(t, 3, s.machine.View().Shortfall(), "keys are made that nobody will pay for")

	s.cfg.Off = false
	s.settle(s.duty(), s.begin())
	s.requirePaid(5)
	require.Empty(t, s.status())
}

// Without a chain the reason is that deposits are off, not that they can not be made.
func TestDepositsOffWithoutAChain(t *testing.T) {
	t.Parallel()
	s := &scene{cluster: newCluster(t), t: t, cfg: Config{Off: true}}
	require.NoError(t, s.duty().pass(t.Context(), s.begin()))
	require.Empty(t, s.status(), "nobody waits")
	s.ask("a", 1)
	require.NoError(t, s.duty().pass(t.Context(), s.begin()))
	require.Equal(t, string(DepositsOff), s.status())
	require.Empty(t, s.states())
}
