package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func TestAllAgree(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	for i := range 20 {
		c.done(fmt.Sprint("a", i))
	}
	c.agree()
	for _, m := range c.members {
		require.NotNil(t, m.View().Member("a19"))
		require.NotEmpty(t, m.View().Meta().GetClusterId())
		require.True(t, m.HasState())
		require.True(t, m.Founded())
	}
}

func TestFollowerRefuses(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader := c.leader()
	for _, m := range c.others(leader) {
		_, err := m.Propose(t.Context(), write("x"))
		require.ErrorIs(t, err, ErrNotLeader)
		require.ErrorIs(t, m.Barrier(t.Context()), ErrNotLeader)
	}
}

func TestLeaderLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.done("before")
	old := c.leader()
	id, session := old.ID(), old.session.Load().Number()
	old.down()
	c.done("after")
	require.Greater(t, c.leader().session.Load().Number(), session)
	require.NotNil(t, c.leader().View().Member("before"))

	old.up()
	require.Equal(t, id, old.ID())
	c.done("again")
	c.agree()
	require.NotNil(t, old.View().Member("after"))
}

func TestAllRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.done("kept")
	clusterID := c.leader().View().Meta().GetClusterId()
	for _, m := range c.members {
		m.down()
	}
	for _, m := range c.members {
		m.up()
	}
	leader := c.leader()
	require.NoError(t, leader.Barrier(t.Context()))
	require.NotNil(t, leader.View().Member("kept"))
	require.Equal(t, clusterID, leader.View().Meta().GetClusterId())
	c.done("more")
	c.agree()
}

func TestStepDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.done("before")
	old := c.leader()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, old.StepDown(ctx))
	_, err := old.Propose(t.Context(), write("late"))
	require.ErrorIs(t, err, ErrNotLeader)
	c.leader(old)
	require.False(t, old.Checks()[0].OK)
	for _, m := range c.others(old) {
		m.down() // nobody else is left to lead
		break
	}
	require.NoError(t, old.StepDown(ctx), "a follower has nothing to hand over")
}

func TestWhoLeavesDoesNotLeadAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	first := c.leader()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, first.StepDown(ctx))
	second := c.leader(first)
	// Leadership is forced on the one that leaves; it passes it on.
	_ = second.raft.LeadershipTransferToServer(raft.ServerID(first.ID()), raft.ServerAddress(first.address)).Error()
	c.leader(first)
	require.Nil(t, first.session.Load())
}

func TestStepDownAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	require.ErrorIs(t, c.leader().StepDown(t.Context()), errNoHeir)
}

func TestPartition(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.done("before")
	old := c.leader()
	c.isolate(old, true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := old.Propose(ctx, write("lost"))
	require.Error(t, err, "an isolated leader has no quorum")
	require.NoError(t, ctx.Err(), "the answer has to come by itself")
	if !isAny(err, ErrUnknownOutcome, ErrNotLeader) {
		t.Fatalf("neither unknown nor not leader: %v", err)
	}
	require.ErrorIs(t, old.Barrier(ctx), ErrNotLeader, "stale read")

	fresh := c.leader(old)
	_, err = fresh.Propose(ctx, write("won"))
	require.NoError(t, err)
	require.Nil(t, old.View().Member("won"))
	eventually(t, "session of the isolated leader ends", func() bool { return old.session.Load() == nil })

	c.isolate(old, false)
	c.done("healed")
	c.agree()
	for _, m := range c.members {
		require.NotNil(t, m.View().Member("won"))
		require.Nil(t, m.View().Member("lost"), "an entry of the isolated leader survived")
	}
	select {
	case err := <-old.Failed():
		t.Fatalf("losing the quorum is no failure: %v", err)
	default:
	}
}

// A leader that hears nothing but is heard goes on; one that hears its
// followers' requests only can not.
func TestHalfCut(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	old := c.leader()
	for _, m := range c.others(old) {
		c.wires.set(old.address, m.address, true)
	}
	fresh := c.leader(old)
	require.NotSame(t, old, fresh)
	for _, m := range c.others(old) {
		c.wires.set(old.address, m.address, false)
	}
	c.done("healed")
	c.agree()
}

// A node that lost its disk comes back under its old address. Raft would take
// its vote for that of the node it was, and elect one that lacks what the two
// had committed.
func TestWipedNodeHasNoVote(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.done("all have it")
	c.agree()
	leader := c.leader()
	rest := c.others(leader)
	wiped, behind := rest[0], rest[1]
	behind.down()
	c.done("two have it")
	wiped.down()
	leader.down()

	require.NoError(t, os.RemoveAll(wiped.cfg.DataDir))
	wiped.up()
	behind.up()
	require.False(t, wiped.HasState())
	eventually(t, "the vote is asked for", func() bool { return wiped.journal.has("asks here for another node") })
	require.False(t, wiped.HasState(), "the wiped node voted or took entries")
	require.NotEqual(t, raft.Leader, behind.raft.State())
	require.Nil(t, behind.session.Load())

	leader.up() // the two that are left go on with all that was committed
	c.done("more")
	require.NotNil(t, c.leader().View().Member("two have it"))
}

func TestSnapshotAndRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.done("in the snapshot")
	m := c.members[0]
	require.NoError(t, m.raft.Snapshot().Error())
	c.done("in the log")
	hash := m.View().Hash()
	m.down()
	info, err := os.Stat(filepath.Join(m.cfg.DataDir, "snapshots"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	m.open() // leads not yet, but applies
	require.NotNil(t, m.View().Member("in the snapshot"))
	eventually(t, "log is applied", func() bool { return m.View().Hash() == hash })
	m.Start()
	c.done("more")
}

func TestManyLeadersInARow(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	for i := range 5 {
		c.done(fmt.Sprint("round", i))
		_ = c.leader().raft.LeadershipTransfer().Error()
	}
	c.done("end")
	c.agree()
	for i := range 5 {
		require.NotNil(t, c.members[0].View().Member(fmt.Sprint("round", i)))
	}
}
