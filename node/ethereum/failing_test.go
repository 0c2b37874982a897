package ethereum

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// An error that is no reason to wait becomes one when it lasts, and is gone with
// its cause.
func TestErrorsThatLastAreTold(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	s := newScene(t, c, 1, func(cfg *Config) { cfg.Poll = 20 * time.Millisecond })
	s.ask("x", 2)
	d, leader := s.duty(), s.begin()
	var broken atomic.Bool
	broken.Store(true)
	leader.before = func(cmd *fsmpb.Command) bool { return cmd.GetSignDeposits() == nil || !broken.Load() }
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = d.Run(ctx, leader) }()
	defer func() { stop(); <-done }()

	require.Eventually(t, func() bool { return s.status() == string(Failing) }, patience, time.Millisecond)
	require.Contains(t, s.detail(), "log 2 signed deposits")
	broken.Store(false)
	require.Eventually(t, func() bool {
		c.backend.Commit()
		return s.status() == "" && len(s.events()) == 2
	}, patience, 5*time.Millisecond)
}
