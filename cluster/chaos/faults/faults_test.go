package faults_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/cluster/chaos/faults"
	"github.com/keysteward/keysteward/cluster/local"
	"github.com/keysteward/keysteward/node/failpoint"
)

// One cluster for all of them, one after the other: each has to bite, and to be healed.
func TestFaultsOfNodes(t *testing.T) { //nolint:tparallel // one cluster, one after the other
	t.Parallel()
	s := raise(t, local.NodesOptions{}, nil)
	t.Run("kill", func(t *testing.T) { //nolint:paralleltest // one after the other
		s.t = t
		heal := s.inject(s.Kill(0))
		require.Zero(t, s.status(0, "/livez"))
		heal()
	})
	t.Run("pause", func(t *testing.T) { //nolint:paralleltest // one after the other
		s.t = t
		heal := s.inject(s.Pause(1))
		// A signal is on its way for a moment.
		require.Eventually(t, func() bool { return s.status(1, "/livez") == 0 }, patience, tick, "it does not answer")
		s.decides()
		heal()
	})
	for i, how := range []failpoint.LogFault{failpoint.LogBroken, failpoint.LogUnsynced, failpoint.LogFull} { //nolint:paralleltest // one after the other
		t.Run("log "+string(how), func(t *testing.T) {
			s.t = t
			mark := s.mark(i)
			heal := s.inject(s.LogFails(i, how))
			s.logged(i, mark, "this node can not rely on its disk: it stops")
			s.decides()
			heal()
		})
	}
	t.Run("log fails from the start", func(t *testing.T) { //nolint:paralleltest // one after the other
		s.t = t
		heal := s.inject(s.Kill(0))
		require.NoError(t, s.Points.FailLog(faults.NodeName(0), failpoint.LogFull))
		mark := s.mark(0)
		require.NoError(t, s.Nodes.StartNode(t.Context(), 0))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		require.NoError(t, s.Nodes.AwaitEnd(ctx, 0), "it has no disk to go on with, and does")
		s.logged(0, mark, "this node can not rely on its disk: it stops")
		require.NoError(t, s.Points.HealLog(faults.NodeName(0)))
		heal()
	})
	t.Run("logs stall", func(t *testing.T) { //nolint:paralleltest // one after the other
		s.t = t
		const late = 2 * time.Second
		var heals []func()
		for i := range 2 { // no majority without them
			heals = append(heals, s.inject(s.LogStalls(i, late)))
		}
		began := time.Now()
		s.decides()
		require.GreaterOrEqual(t, time.Since(began), late)
		for _, heal := range heals {
			heal()
		}
	})
	t.Run("clocks", func(t *testing.T) { //nolint:paralleltest // one after the other
		s.t = t
		out := filepath.Join(t.TempDir(), "token")
		text, err := s.Nodes.Keysteward(t.Context(), "tokens", "create", "for-a-day", "--role", "viewer", "--expires-in", "24h", "--out", out)
		require.NoError(t, err, text)
		token, err := os.ReadFile(out)
		require.NoError(t, err)
		const year = 365 * 24 * time.Hour
		answers := func(i, status int) {
			t.Helper()
			require.Eventually(t, func() bool { return s.get(i, "/v1/keys?consistency=stale", string(token)) == status }, patience, tick)
		}
		for i, by := range []time.Duration{-year, year, 2 * year} {
			answers(i, http.StatusOK)
			heal := s.inject(s.ClockOff(i, by))
			s.decides()
			if by > 0 {
				answers(i, http.StatusUnauthorized) // its day is over
			}
			heal()
			answers(i, http.StatusOK)
		}
	})
	t.Run("disk lost", func(t *testing.T) { //nolint:paralleltest // one after the other
		s.t = t
		before := s.nodeID(0)
		s.inject(s.LoseDisk(0))()
		require.NotEqual(t, before, s.nodeID(0), "it comes back under a new ID")
	})
}

// The node that founds the cluster ends if it can not write that down, and founds it when it
// can: Raft answers nobody whose disk fails just then.
func TestFoundingWithoutADisk(t *testing.T) {
	t.Parallel()
	s := raise(t, local.NodesOptions{}, nil)
	for i := range 3 {
		s.inject(s.Kill(i))
	}
	for i := range 3 {
		require.NoError(t, s.EmptyDisk(i))
	}
	first, mark := faults.NodeName(0), s.mark(0)
	require.NoError(t, s.Nodes.StartNode(t.Context(), 0))
	s.logged(0, mark, "the cluster is not founded yet")
	require.NoError(t, s.Points.FailLog(first, failpoint.LogBroken))
	for i := range 3 {
		require.NoError(t, s.Nodes.StartNode(t.Context(), i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.Nodes.AwaitEnd(ctx, 0), "it has no disk to go on with, and does")
	s.logged(0, mark, "founding the cluster")
	s.logged(0, mark, "this node can not rely on its disk: it stops")
	log, err := os.ReadFile(s.Nodes.LogFile(0))
	require.NoError(t, err)
	require.NotContains(t, string(log), "what should have ended goes on")
	require.NoError(t, s.Points.HealLog(first))
	require.NoError(t, s.Nodes.StartNode(t.Context(), 0))
	s.well()
}

// Each damage of the files is found out at the start, and the way out that the node
// tells of works.
func TestDamages(t *testing.T) { //nolint:tparallel // one cluster, one after the other
	t.Parallel()
	s := raise(t, local.NodesOptions{}, func(s *show) { require.NoError(t, s.Points.SnapshotOften()) })
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for at, d := range faults.Damages() { //nolint:paralleltest // one after the other
		t.Run(string(d), func(t *testing.T) {
			s.t = t
			i := at % 3
			before, mark := s.nodeID(i), s.mark(i)
			var undo func(context.Context) error
			require.EventuallyWithT(t, func(c *assert.CollectT) { // there is a snapshot in a while
				var err error
				undo, err = s.Damage(i, d, r).Inject(t.Context())
				if errors.Is(err, faults.ErrNothingToDamage) {
					s.well()
				}
				require.NoError(c, err)
			}, patience, tick)
			s.logged(i, mark, "set the folder aside")
			s.decides()
			require.NoError(t, undo(t.Context()))
			s.well()
			require.NotEqual(t, before, s.nodeID(i), "it comes back under a new ID")
		})
	}
}

func TestDisks(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Log("needs root, to mount a disk in memory")
		return
	}
	s := raise(t, local.NodesOptions{}, func(s *show) {
		for i := range 3 {
			unmount, err := s.MountDisk(i, 48<<20)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, unmount()) })
		}
	})
	const low, full = 1 << 20, 0
	for i, left := range []uint64{low, full} {
		heal := s.inject(s.DiskFull(i, left))
		require.Eventually(t, func() bool { return s.status(i, "/readyz") != 200 }, patience, tick, "it is not ready")
		s.logged(i, 0, "disk")
		s.decides()
		heal()
	}
	_, err := s.DiskFull(0, 0).Inject(t.Context())
	require.NoError(t, err)
}
