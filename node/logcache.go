package node

import (
	"sync"

	"github.com/hashicorp/raft"
)

const (
	cachedEntries = 1024
	// cachedBytes is how long an entry may be that is kept in memory as well: the parts
	// of a backup that is restored would take half a gigabyte else.
	cachedBytes = 64 << 10
)

// logCache keeps the newest entries of a log in memory, where they are read again for
// followers and for the state machine. Long ones are read from the disk.
type logCache struct {
	raft.LogStore

	mu   sync.RWMutex
	ring [cachedEntries]*raft.Log
}

var _ raft.MonotonicLogStore = (*logCache)(nil)

func newLogCache(store raft.LogStore) *logCache { return &logCache{LogStore: store} }

// IsMonotonic implements raft.MonotonicLogStore.
func (c *logCache) IsMonotonic() bool {
	m, ok := c.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// GetLog implements raft.LogStore.
func (c *logCache) GetLog(index uint64, l *raft.Log) error {
	c.mu.RLock()
	kept := c.ring[index%cachedEntries]
	c.mu.RUnlock()
	if kept != nil && kept.Index == index {
		*l = *kept
		return nil
	}
	return c.LogStore.GetLog(index, l) //nolint:wrapcheck // goes to the library
}

// StoreLog implements raft.LogStore.
func (c *logCache) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (c *logCache) StoreLogs(logs []*raft.Log) error {
	if err := c.LogStore.StoreLogs(logs); err != nil {
		return err //nolint:wrapcheck // goes to the library
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range logs {
		kept := l
		if len(l.Data) > cachedBytes {
			kept = nil // nor what was in its place, which may have its index
		}
		c.ring[l.Index%cachedEntries] = kept
	}
	return nil
}

// DeleteRange implements raft.LogStore.
func (c *logCache) DeleteRange(from, to uint64) error {
	c.mu.Lock()
	clear(c.ring[:])
	c.mu.Unlock()
	return c.LogStore.DeleteRange(from, to) //nolint:wrapcheck // goes to the library
}
