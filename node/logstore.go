package node

import (
	"encoding/binary"
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
	fail func(error)
}

var (
	_ raft.LogStore    = (*logStore)(nil)
	_ raft.StableStore = (*logStore)(nil)
)

func openLog(folder string, fail func(error)) (*logStore, error) {
	return openLogAs(folder, false, fail)
}

// openLogAs opens the log, to be read only if so.
func openLogAs(folder string, readOnly bool, fail func(error)) (*logStore, error) {
	s := &logStore{path: filepath.Join(folder, logFile), fail: fail}
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

// own writes down whose log it is, once: a folder is never put together of two nodes'.
func (s *logStore) own(nodeID string) error {
	if had, err := s.Get([]byte(keyNodeID)); err == nil && string(had) == nodeID {
		return nil
	}
	return s.Set([]byte(keyNodeID), []byte(nodeID))
}

// write does one write to the disk.
func (s *logStore) write(do func() error) error {
	err := failpoint.Write(do)
	if err != nil {
		err = fmt.Errorf("write the log %s: %w", s.path, err)
		s.fail(err)
	}
	return err
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s *logStore) StoreLogs(l []*raft.Log) error {
	return s.write(func() error { return s.BoltStore.StoreLogs(summed(l)) })
}

// GetLog implements raft.LogStore. An entry that is damaged ends the node: Raft would try
// to read it again and again, or panic.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	if err := s.BoltStore.GetLog(index, l); err != nil {
		return err //nolint:wrapcheck // Raft compares it
	}
	if _, err := checkSum(index, l); err != nil {
		s.fail(err)
		return err
	}
	return nil
}

// DeleteRange implements raft.LogStore.
func (s *logStore) DeleteRange(first, last uint64) error {
	return s.write(func() error { return s.BoltStore.DeleteRange(first, last) })
}

// Set implements raft.StableStore.
func (s *logStore) Set(k, v []byte) error {
	return s.write(func() error { return s.BoltStore.Set(k, sealValue(k, v)) })
}

// SetUint64 implements raft.StableStore. Raft panics if it fails for the term.
func (s *logStore) SetUint64(k []byte, v uint64) error {
	return s.Set(k, binary.BigEndian.AppendUint64(nil, v))
}

// Get implements raft.StableStore.
func (s *logStore) Get(k []byte) ([]byte, error) {
	b, err := s.BoltStore.Get(k)
	if err != nil {
		return nil, err //nolint:wrapcheck // Raft compares it
	}
	return unsealValue(k, b)
}

// GetUint64 implements raft.StableStore.
func (s *logStore) GetUint64(k []byte) (uint64, error) {
	b, err := s.Get(k)
	if err != nil {
		return 0, err
	}
	if len(b) != numberBytes {
		return 0, fmt.Errorf("%w: the value of %s has %d bytes", ErrDamaged, k, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// unwritable ends the node, and says so at once: Raft may panic for the same reason.
func (n *Node) unwritable(err error) {
	if n.ctx.Err() == nil {
		n.log.Error("this node can not rely on its disk: it stops", "error", err, "disk", n.disk.check().Detail)
	}
	n.fail(err)
}
