package ethereum

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// spares checks how many keys nobody reserves: free, on their way, planned.
func (s *scene) spares(free, onTheirWay, planned int) {
	s.t.Helper()
	got := s.machine.View().Spares()
	require.Equal(s.t, []int{free, onTheirWay, planned}, []int{got.Free, got.OnTheirWay, got.Planned}, "free, on their way, planned: %s", s.detail())
	require.NoError(s.t, s.machine.View().Check())
}

// The pool is stocked ahead of demand, and restocked behind it.
func TestSpareKeys(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.SpareKeys, cfg.InFlight = 3, 2 })
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	s.spares(0, 2, 1)
	s.settle(d, leader)
	s.spares(3, 0, 0)
	s.requirePaid(3)

	s.ask("a", 2)
	require.Len(t, s.machine.View().Allocation("default", "a").GetKeys(), 2, "without waiting for a chain")
	s.settle(d, leader)
	s.spares(3, 0, 0)
	s.requirePaid(5)

	s.propose(&fsmpb.Command{Body: &fsmpb.Command_Release{Release: &fsmpb.Release{
		Namespace: "default", Pod: "a", Fence: s.machine.View().Allocation("default", "a").GetFence(),
		Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: "op"},
	}}})
	s.ask("b", 1)
	s.settle(d, leader)
	s.spares(4, 0, 0)
	s.requirePaid(5)

	s.cfg.SpareKeys = 0
	s.settle(s.duty(), s.begin())
	s.spares(4, 0, 0)
	require.Zero(t, s.machine.View().DepositStatus().GetSpareKeys())
}

// Requests are signed before spare keys, within the limit of a day.
func TestSpareKeysComeLast(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.SpareKeys, cfg.MaxPerDay = 3, 4 })
	s.ask("a", 3)
	d, leader := s.duty(), s.begin()
	s.settle(d, leader)
	require.Len(t, s.machine.View().Allocation("default", "a").GetKeys(), 3)
	s.spares(1, 0, 2)
	require.Equal(t, string(DailyLimit), s.status())
	s.hours(24)
	s.ask("b", 4)
	s.settle(d, leader)
	require.Len(t, s.machine.View().Allocation("default", "b").GetKeys(), 4)
	s.spares(1, 0, 2)

	// Fewer are wanted: what was not signed is not.
	s.cfg.SpareKeys = 1
	s.settle(s.duty(), s.begin())
	s.spares(1, 0, 0)
	s.requirePaid(8)
}

// Neither with deposits off nor without a chain is anything planned for the pool.
func TestNoSpareKeys(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.SpareKeys, cfg.InFlight = 2, 1 })
	require.NoError(t, s.duty().pass(t.Context(), s.begin()))
	s.spares(0, 1, 1)
	s.cfg.Off = true
	s.settle(s.duty(), s.begin())
	s.spares(1, 0, 0)
	require.Empty(t, s.status())
	s.cfg = Config{SpareKeys: 2}
	require.NoError(t, s.duty().pass(t.Context(), s.begin()))
	require.Zero(t, s.machine.View().DepositStatus().GetSpareKeys())
}

// The loop stocks the pool again by itself when a request has taken of it.
func TestRunRestocks(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.SpareKeys, cfg.Poll = 2, 50*time.Millisecond })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	d, leader := s.duty(), s.begin()
	go func() { ended <- d.Run(ctx, leader) }()
	for _, pod := range []string{"a", "b"} {
		require.Eventually(t, func() bool {
			s.backend.Commit()
			return s.machine.View().Spares() == fsm.Spares{Wanted: 2, Free: 2}
		}, patience, time.Millisecond)
		s.ask(pod, 2)
	}
	stop()
	require.NoError(t, <-ended)
}

func TestMissingSpareKeysAreWork(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	require.False(t, hasWork(c.machine.View()))
	c.propose(&fsmpb.Command{Body: &fsmpb.Command_SetSpareKeys{SetSpareKeys: &fsmpb.SetSpareKeys{Keys: 1}}})
	require.True(t, hasWork(c.machine.View()), "a key is to be made for the pool")
}

func TestSpareKeysAreBounded(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	for _, n := range []int{-1, fsm.MaxSpareKeys + 1} {
		s.cfg.SpareKeys = n
		require.ErrorIs(t, s.cfg.Check(), ErrConfig)
	}
}
