// Package making writes backups of the state of a node that runs.
package making

import (
	"fmt"
	"io"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/backup"
)

// Vault authenticates backups; [seal.Vault] says what its method promises.
type Vault interface {
	// BackupKey authenticates a backup of this state.
	BackupKey(view *fsm.View, fileID string) (backup.Key, error)
}

// Maker makes backups on one node.
type Maker struct {
	Vault Vault
	// Node is the node's ID, Program the version of its program.
	Node, Program string
}

// Backup is one that can be written.
type Backup struct {
	// Manifest is what will stand in front.
	Manifest backup.Manifest

	view *fsm.View
	key  backup.Key
}

// Prepare makes a backup of a state, which is kept in memory for as long as the backup
// is. The error wraps [node.ErrSealed] on a node that can not authenticate it.
func (m *Maker) Prepare(view *fsm.View, now time.Time) (*Backup, error) {
	id := backup.NewFileID()
	key, err := m.Vault.BackupKey(view, id)
	if err != nil {
		return nil, fmt.Errorf("key of a backup: %w", err)
	}
	meta := view.Meta()
	return &Backup{view: view, key: key, Manifest: backup.Manifest{
		FileID: id, ClusterID: meta.GetClusterId(), History: backup.HistoryOf(meta.GetRestore().GetId()), MadeAt: now.UTC().Truncate(time.Second), Node: m.Node, Program: m.Program,
		Index: meta.GetAppliedIndex(), Term: meta.GetAppliedTerm(), SnapshotFormat: fsm.SnapshotFormat,
		FeatureLevel: meta.GetFeatureLevel(), ClusterTimeMs: meta.GetClusterTimeMs(), AuditSeq: meta.GetNextAudit(),
		Counts: count(view), Keyring: view.Secret(fsm.SecretKeyring).GetSealed(),
	}}, nil
}

// WriteTo implements io.WriterTo. It keeps no more of the file than a chunk in memory.
func (b *Backup) WriteTo(out io.Writer) (int64, error) {
	counted := &counter{out: out}
	w, err := backup.NewWriter(counted, b.key, &b.Manifest)
	if err != nil {
		return counted.n, fmt.Errorf("begin backup: %w", err)
	}
	if _, err := b.view.WriteTo(w); err != nil {
		return counted.n, fmt.Errorf("backup of the state: %w", err)
	}
	if err := w.Close(); err != nil {
		return counted.n, fmt.Errorf("end backup: %w", err)
	}
	return counted.n, nil
}

// Key authenticates the file, for reading back what was written.
func (b *Backup) Key() *backup.Key { return &b.key }

func count(view *fsm.View) backup.Counts {
	meta := view.Meta()
	c := backup.Counts{Held: at(meta.GetKeyCounts(), int(fsmpb.KeyState_KEY_STATE_HELD))}
	for _, n := range meta.GetKeyCounts() {
		c.Keys += int64(n) //nolint:gosec // they are counted one by one
	}
	for _, n := range meta.GetDepositCounts() {
		c.Deposits += int64(n) //nolint:gosec // they are counted one by one
	}
	for range view.Allocations() {
		c.Allocations++
	}
	for range view.Tokens("") {
		c.Tokens++
	}
	for range view.AllClouds() {
		c.Clouds++
	}
	return c
}

func at(counts []uint64, i int) int64 {
	if i >= len(counts) {
		return 0
	}
	return int64(counts[i]) //nolint:gosec // they are counted one by one
}

// counter counts what is written.
type counter struct {
	out io.Writer
	n   int64
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.out.Write(p)
	c.n += int64(n)
	return n, err //nolint:wrapcheck // as io.Writer promises it
}
