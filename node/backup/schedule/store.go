package schedule

import (
	"context"
	"io"
	"time"

	"github.com/keysteward/keysteward/node/backup"
)

// Entry is a backup that is there.
type Entry struct {
	// Name is a [backup.Manifest.Name].
	Name string
	// MadeAt is what the name says, Bytes what the place says.
	MadeAt time.Time
	Bytes  int64
}

// Store is a place for backups. A file is in it whole or not at all. Errors wrap one
// of the reasons of this package where it is known.
type Store interface {
	// String names the place for people, without credentials.
	String() string
	// Put writes a file of a size that is not known before.
	Put(ctx context.Context, name string, content io.WriterTo) error
	// Open reads a file.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// List names everything that may be a backup.
	List(ctx context.Context) ([]Entry, error)
	// Remove removes a file; that there is none is no error.
	Remove(ctx context.Context, name string) error
	// Reason adds its reason to an error of reading what Open returned.
	Reason(err error) error
}

// ours are the entries of this lineage, the newest first.
func ours(all []Entry, lineage string) []Entry {
	var list []Entry
	for _, e := range all {
		if id, at, ok := backup.ParseName(e.Name); ok && id == lineage {
			e.MadeAt = at
			list = append(list, e)
		}
	}
	sortNewestFirst(list)
	return list
}
