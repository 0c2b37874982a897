package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// restore brings a backup back on the leader, and waits for the session after it.
func (c *testCluster) restore(leader *member, data []byte) {
	c.t.Helper()
	sum := sha256.Sum256(data)
	m := fsm.New()
	require.NoError(c.t, m.Restore(bytes.NewReader(data)))
	_, err := leader.Propose(c.t.Context(), &fsmpb.Command{Body: &fsmpb.Command_StageRestore{StageRestore: &fsmpb.StageRestore{RestoreId: "r", Data: data}}})
	require.NoError(c.t, err)
	_, err = leader.Propose(c.t.Context(), &fsmpb.Command{Body: &fsmpb.Command_FinishRestore{FinishRestore: &fsmpb.FinishRestore{
		RestoreId: "r", Sha256: sum[:], Index: m.View().Meta().GetAppliedIndex(), ClusterId: m.View().Meta().GetClusterId(), Force: true,
		Replaces: leader.View().Meta().GetClusterId(),
	}}})
	require.NoError(c.t, err)
}

// A backup of another cluster is restored: the same leader goes on in a session that
// knows nothing of what was decided before, and every node has the same state, also
// one that was away and has to be told.
func TestSessionBeginsAnewAfterARestore(t *testing.T) {
	t.Parallel()
	started := make(chan uint64, 100)
	duty := DutyFunc("watch", func(ctx context.Context, s *Session) error {
		started <- s.View().Meta().GetRestore().GetNumber()
		<-ctx.Done()
		return nil
	})
	c := newCluster(t, 3, func(m *member) { m.duties = []Duty{duty} })
	leader := c.leader()
	_, err := leader.Propose(t.Context(), &fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	require.NoError(t, err)
	away := c.members[0]
	if away == leader {
		away = c.members[1]
	}
	before := leader.ClusterID()
	away.down()

	other := newCluster(t, 1)
	from := other.leader()
	var data bytes.Buffer
	_, err = from.View().WriteTo(&data)
	require.NoError(t, err)
	late := leader.session.Load()
	term := leader.View().Meta().GetSession()
	c.restore(leader, data.Bytes())

	eventually(t, "a session after the restore", func() bool {
		s := leader.session.Load()
		return s != nil && s != late && leader.View().Meta().GetSession() == s.Number()
	})
	require.Equal(t, term, leader.View().Meta().GetSession(), "of the same term")
	_, err = late.Propose(t.Context(), &fsmpb.Command{Body: &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: 1}}})
	require.ErrorIs(t, err, ErrNotLeader, "the session before is over")
	_, err = leader.Propose(t.Context(), &fsmpb.Command{Body: &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: 1}}})
	require.NoError(t, err)
	require.NoError(t, leader.Barrier(t.Context()))
	require.Equal(t, uint64(0), <-started)
	require.Equal(t, uint64(1), <-started, "duties begin anew, with what was restored")

	away.up()
	for _, m := range c.members {
		eventually(t, "the backup's cluster on every node", func() bool { return m.ClusterID() == from.ClusterID() })
		eventually(t, "the same state", func() bool { return m.View().Hash() == leader.View().Hash() })
	}
	require.NotEqual(t, before, leader.ClusterID())
	require.NoError(t, leader.Joined())
	written, _ := leader.folder.read()
	require.Equal(t, from.ClusterID(), written)
	require.False(t, leader.journal.has("can not lead"))
}
