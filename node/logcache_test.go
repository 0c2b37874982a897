package node

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

var errFull = errors.New("full")

// fussyLog counts what is read from it, and fails when it is told to.
type fussyLog struct {
	*raft.InmemStore

	reads int
	full  bool
}

func (f *fussyLog) GetLog(index uint64, l *raft.Log) error {
	f.reads++
	return f.InmemStore.GetLog(index, l)
}

func (f *fussyLog) StoreLogs(logs []*raft.Log) error {
	if f.full {
		return errFull
	}
	return f.InmemStore.StoreLogs(logs)
}

func (f *fussyLog) IsMonotonic() bool { return true }

func TestLogCache(t *testing.T) {
	t.Parallel()
	disk := &fussyLog{InmemStore: raft.NewInmemStore()}
	c := newLogCache(disk)
	require.True(t, c.IsMonotonic())
	require.False(t, newLogCache(raft.NewInmemStore()).IsMonotonic())
	entry := func(index, term uint64, size int) *raft.Log {
		return &raft.Log{Index: index, Term: term, Data: make([]byte, size)}
	}
	read := func(index, term uint64, reads int) {
		t.Helper()
		var l raft.Log
		before := disk.reads
		require.NoError(t, c.GetLog(index, &l))
		require.Equal(t, []uint64{index, term}, []uint64{l.Index, l.Term})
		require.Equal(t, reads, disk.reads-before)
	}
	require.NoError(t, c.StoreLog(entry(1, 1, cachedBytes)))
	require.NoError(t, c.StoreLogs([]*raft.Log{entry(2, 1, 1), entry(3, 1, cachedBytes+1)}))
	read(1, 1, 0)
	read(2, 1, 0)
	read(3, 1, 1) // too long
	require.NoError(t, c.StoreLog(entry(2, 2, cachedBytes+1)))
	read(2, 2, 1) // a long one in the place of a short one with the same index
	require.NoError(t, c.StoreLog(entry(1+cachedEntries, 2, 1)))
	read(1, 1, 1)
	disk.full = true
	require.ErrorIs(t, c.StoreLog(entry(1+cachedEntries, 3, 1)), errFull)
	read(1+cachedEntries, 2, 0)
	require.NoError(t, c.DeleteRange(1+cachedEntries, 1+cachedEntries))
	require.ErrorIs(t, c.GetLog(1+cachedEntries, &raft.Log{}), raft.ErrLogNotFound)
}
