package failpoint

import "path/filepath"

func (f Folder) often() string { return filepath.Join(string(f), "snapshots.often") }

func (f Folder) whole() string { return filepath.Join(string(f), "log.whole") }

// SnapshotOften has nodes that start from now on make snapshots every few seconds and keep
// a short log, so that what usually takes days happens in a test: followers that need a
// snapshot, and snapshots that can be damaged.
func (f Folder) SnapshotOften() error { return f.tell(f.often(), "") }

// KeepLog has nodes that start from now on keep their whole log beside their snapshots, so
// that it can be audited from its first entry.
func (f Folder) KeepLog() error { return f.tell(f.whole(), "") }
