package node

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestStartAndCloseAtOnce(t *testing.T) {
	t.Parallel()
	m := newMember(t, &wires{}, "n1")
	m.open()
	require.NoError(t, m.Bootstrap([]raft.Server{{ID: raft.ServerID(m.ID()), Address: raft.ServerAddress(m.address)}}))
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { m.Start() })
		all.Go(func() { _ = m.StepDown(t.Context()) })
		all.Go(func() { assertThat(t, m.Close() == nil, nil) })
	}
	all.Wait()
	require.NoError(t, m.Close())
	m.Start() // too late, and harmless
	require.NoError(t, m.StepDown(t.Context()))
	_, err := m.Propose(t.Context(), write("x"))
	require.ErrorIs(t, err, ErrNotLeader)
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*member){
		"configuration": func(m *member) { m.cfg.Name = "" },
		"folder":        func(m *member) { put(t, m.cfg.DataDir, "photo.jpg", "") },
		"log": func(m *member) {
			put(t, m.cfg.DataDir, idFile, "n1-00000000")
			put(t, m.cfg.DataDir, "raft", "")
		},
		"snapshots": func(m *member) {
			put(t, m.cfg.DataDir, idFile, "n1-00000000")
			put(t, m.cfg.DataDir, "snapshots", "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMember(t, &wires{}, "n1")
			spoil(m)
			k := m.listen()
			_, err := Open(m.cfg, k)
			require.Error(t, err)
			_, err = k.PeerListener().Accept()
			require.Error(t, err, "the link was taken over and has to be closed")
		})
	}
}

func TestTwoProcessesOnOneFolder(t *testing.T) {
	t.Parallel()
	m := newMember(t, &wires{}, "n1")
	m.open()
	twin := newMember(t, &wires{}, "n1")
	twin.cfg.DataDir = m.cfg.DataDir
	_, err := Open(twin.cfg, twin.listen())
	require.ErrorIs(t, err, ErrFolderInUse)
	require.NoError(t, m.Close())
}

func TestBootstrapOfOldNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	m := c.leader()
	require.Error(t, m.Bootstrap([]raft.Server{{ID: raft.ServerID(m.ID()), Address: raft.ServerAddress(m.address)}}))
}

// What can not be applied stops the node, and nothing behind it is applied,
// read or kept in a snapshot.
func TestEntryThatCanNotBeApplied(t *testing.T) {
	t.Parallel()
	newer, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{{Version: fsm.CommandVersion + 1}}})
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		entry []byte
		want  error
	}{
		"damaged": {[]byte("\xffno batch"), fsm.ErrDamaged},
		"newer":   {newer, fsm.ErrUnknownCommand},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3)
			c.done("before")
			leader := c.leader()
			_, err := applied(leader.raft.Apply(tc.entry, patience), 1)
			require.ErrorIs(t, err, ErrUnknownOutcome)
			for _, m := range c.members {
				select {
				case err := <-m.Failed():
					require.ErrorIs(t, err, tc.want)
				case <-time.After(patience):
					t.Fatal("the node goes on")
				}
				eventually(t, "session goes on", func() bool { return m.session.Load() == nil })
				require.Equal(t, errBroken, m.replica.Apply(&raft.Log{}))
				require.ErrorContains(t, m.raft.Snapshot().Error(), errBroken.Error())
				require.ErrorIs(t, m.replica.Restore(nil), errBroken)
			}
			require.ErrorIs(t, newSession(leader.Node, 1).barrier(), ErrNotLeader)
		})
	}
}

func TestBrokenSnapshot(t *testing.T) {
	t.Parallel()
	failures := 0
	r := &replica{machine: fsm.New(), fail: func(error) { failures++ }}
	broken := func() io.ReadCloser { return io.NopCloser(strings.NewReader("no snapshot")) }
	require.ErrorIs(t, r.Restore(broken()), fsm.ErrDamaged)
	require.Zero(t, failures, "before the node runs Raft tries older ones")
	r.live.Store(true)
	require.ErrorIs(t, r.Restore(broken()), fsm.ErrDamaged)
	require.Equal(t, 1, failures)
}

type brokenSink struct {
	raft.SnapshotSink
	cancelled bool
	closeErr  error
	writeErr  error
}

func (b *brokenSink) Write(p []byte) (int, error) { return len(p), b.writeErr }
func (b *brokenSink) Cancel() error               { b.cancelled = true; return nil }
func (b *brokenSink) Close() error                { return b.closeErr }

func TestPersist(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	view := fsm.New().View()
	require.NoError(t, snapshot{view: view}.Persist(&brokenSink{}))
	require.ErrorIs(t, snapshot{view: view}.Persist(&brokenSink{closeErr: full}), full)
	b := &brokenSink{writeErr: full}
	require.ErrorIs(t, snapshot{view: view}.Persist(b), full)
	require.True(t, b.cancelled)
}
