package node

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/keysteward/keysteward/node/failpoint"
)

// logStore is the log on disk. The first write that fails ends the node: Raft would go
// on with what it believes to have written, try again for ever as a follower, and lead
// again and again without being able to write anything.
type logStore struct {
	*raftboltdb.BoltStore

	path string
	node string // whose it is
	fail func(error)
}

var (
	_ raft.LogStore    = (*logStore)(nil)
	_ raft.StableStore = (*logStore)(nil)
)

func openLog(folder, node string, fail func(error)) (*logStore, error) {
	return openLogAs(folder, node, false, fail)
}

// openLogAs opens the log, to be read only if so.
func openLogAs(folder, node string, readOnly bool, fail func(error)) (*logStore, error) {
	s := &logStore{path: filepath.Join(folder, logFile), node: node, fail: fail}
	options := boltOptions()
	options.ReadOnly = readOnly
	var err error
	s.BoltStore, err = raftboltdb.New(raftboltdb.Options{Path: s.path, BoltOptions: options})
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return s, nil
}

// boltOptions are those of the log. Its lock is not waited for: the folder's comes first.
func boltOptions() *bbolt.Options {
	return &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: time.Second}
}

// write does one write to the disk.
func (s *logStore) write(do func() error) error {
	err := failpoint.Write(s.node, do)
	if err != nil {
		err = fmt.Errorf("write the log %s: %w", s.path, err)
		s.fail(err)
	}
	return err
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(l *raft.Log) error {
	return s.write(func() error { return s.BoltStore.StoreLog(l) })
}

// StoreLogs implements raft.LogStore.
func (s *logStore) StoreLogs(l []*raft.Log) error {
	return s.write(func() error { return s.BoltStore.StoreLogs(l) })
}

// DeleteRange implements raft.LogStore.
func (s *logStore) DeleteRange(first, last uint64) error {
	return s.write(func() error { return s.BoltStore.DeleteRange(first, last) })
}

// Set implements raft.StableStore.
func (s *logStore) Set(k, v []byte) error {
	return s.write(func() error { return s.BoltStore.Set(k, v) })
}

// SetUint64 implements raft.StableStore. Raft panics if it fails for the term.
func (s *logStore) SetUint64(k []byte, v uint64) error {
	return s.write(func() error { return s.BoltStore.SetUint64(k, v) })
}

// unwritable ends the node, and says so at once: Raft may panic for the same reason.
func (n *Node) unwritable(err error) {
	if n.ctx.Err() == nil {
		n.log.Error("the disk does not take what this node has to remember: it stops", "error", err, "disk", n.disk.check().Detail)
	}
	n.fail(err)
}
