package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/raftlog"
)

func (m *member) inspect() Inspection {
	m.t.Helper()
	found, err := Inspect(m.cfg.DataDir, logTo(m.journal))
	require.NoError(m.t, err)
	return found
}

func (m *member) recover(address string) (Recovered, error) {
	m.t.Helper()
	return Recover(Recovery{DataDir: m.cfg.DataDir, Address: address, By: "alice", Logger: logTo(m.journal), Now: time.Unix(1_700_000_000, 0)})
}

// Two of three are lost for good. What is left tells which of several knows the most,
// becomes a cluster of one with all that it knows, under a higher term, and takes others
// in that are new.
func TestRecoverFromLostQuorum(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, calm)
	c.done("before")
	require.NoError(t, c.leader().raft.Snapshot().Error())
	for i := range 5 {
		c.done(fmt.Sprint("more", i))
	}
	c.agree()
	leader := c.leader()
	left, behind := c.others(leader)[0], c.others(leader)[1]
	behind.down()
	c.done("two have it")
	session := leader.session.Load().Number()
	eventually(t, "both have it", func() bool { return left.View().Member("two have it") != nil })

	require.ErrorIs(t, err2(Inspect(left.cfg.DataDir, logTo(left.journal))), ErrFolderInUse)
	require.ErrorIs(t, err2(left.recover("")), ErrFolderInUse)
	leader.down()
	hash := left.View().Hash()
	left.down()
	found, other := left.inspect(), behind.inspect()
	require.Equal(t, found.LastTerm, other.LastTerm)
	require.Greater(t, found.LastIndex, other.LastIndex, "it knows more than the other")
	require.Len(t, found.Members, 3)
	require.Equal(t, hash, found.View.Hash())
	require.Equal(t, session, found.CurrentTerm)

	done, err := left.recover("")
	require.NoError(t, err)
	require.Equal(t, left.address, done.Address)
	require.Greater(t, done.Term, session)
	require.DirExists(t, filepath.Join(done.Copy, raftlog.Folder))
	kept := *left
	kept.cfg.DataDir = done.Copy
	require.Equal(t, found.LastIndex, kept.inspect().LastIndex, "the copy is what there was")
	again := left.inspect()
	require.Equal(t, []Member{{ID: found.NodeID, Address: left.address, Voter: true}}, again.Members)

	left.up()
	require.Same(t, left, c.leader(leader, behind))
	require.Greater(t, left.session.Load().Number(), session)
	require.NotNil(t, left.View().Member("two have it"))
	require.True(t, left.View().Meta().GetRestore().GetOpen(), "what the others knew is not known")
	require.Equal(t, "alice", left.View().Meta().GetRestore().GetBy())
	require.NoError(t, left.View().Check())
	require.Equal(t, found.ClusterID, left.View().Meta().GetClusterId())
	eventually(t, "it writes", func() bool { _, err := left.Propose(t.Context(), write("after")); return err == nil })

	fresh := newMember(t, c.wires, behind.cfg.Name) // a lost one, with an empty disk, at its address
	fresh.address = behind.address
	fresh.up()
	c.members = []*member{left, fresh}
	require.NoError(t, left.AddLearner(fresh.ID(), fresh.address, left.configuration().Index))
	eventually(t, "it catches up", func() bool { return fresh.View().Member("after") != nil })
	require.NoError(t, left.Promote(fresh.ID(), fresh.address, left.configuration().Index))
	c.done("and on")
	c.agree()
	require.NoError(t, fresh.View().Check())
	left.down()
	left.up()
	c.done("after a restart")
}

func err2[T any](_ T, err error) error { return err }

// A recovery that died between its steps is done again, and the node could start as well.
func TestRecoverAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, calm)
	c.done("kept")
	m := c.members[0]
	m.down()
	kept := copyFolder(t, m.cfg.DataDir)
	first, err := m.recover("")
	require.NoError(t, err)
	log := filepath.Join(m.cfg.DataDir, raftlog.Folder) // as before the log was emptied
	require.NoError(t, errors.Join(os.RemoveAll(log), os.CopyFS(log, os.DirFS(filepath.Join(kept, raftlog.Folder)))))
	inStore(t, m.cfg.DataDir, func(s *raftlog.Store) error { return s.SetUint64([]byte(raftlog.KeyCurrentTerm), first.Term) })
	m.up()
	c.done("went on")
	m.down()
	second, err := m.recover("127.0.0.1:1")
	require.NoError(t, err)
	require.NotEqual(t, first.Copy, second.Copy)
	require.Greater(t, second.Term, first.Term)
	require.Equal(t, "127.0.0.1:1", m.inspect().Members[0].Address)
	require.NotNil(t, m.inspect().View.Member("went on"))
}

func TestWhatCanNotBeRecovered(t *testing.T) {
	t.Parallel()
	m := newMember(t, &wires{}, "n1")
	_, err := m.recover("")
	require.ErrorIs(t, err, ErrNoData, "an empty folder")
	m.open()
	m.down()
	_, err = m.recover("")
	require.ErrorIs(t, err, ErrNoData, "a node that was never part of a cluster")

	c := newCluster(t, 1, calm)
	c.done("x")
	m = c.members[0]
	m.down()
	_, err = m.recover("nowhere")
	require.Error(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(m.cfg.DataDir, idFile), []byte("n1-00000000\n"), 0o600))
	_, err = m.recover("")
	require.Error(t, err, "no member by its own data")
	before, err := filepath.Glob(filepath.Join(m.cfg.DataDir, "before-*"))
	require.NoError(t, err)
	require.Empty(t, before, "nothing was touched")
}

// An entry that this program does not know ends a recovery, as it ends a node.
func TestRecoverKnowsAllEntries(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, calm)
	c.done("x")
	m := c.leader()
	_ = m.raft.Apply([]byte{0xff}, patience).Error()
	m.down()
	_, err := m.recover("")
	require.ErrorIs(t, err, fsm.ErrDamaged)
}
