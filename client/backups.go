package client

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/backup"
)

const (
	pathSnapshot = "/v1/snapshot"
	pathBackups  = "/v1/backups"
)

// Backup fetches a backup of the cluster's state: of the leader, with all that was
// acknowledged before the call, or, if stale will do, of any member. Begin is told what
// the server calls the file, and returns where it goes; it is called again, to begin
// anew, if a try breaks off, and its error ends the call. What was written is whole
// only if [backup.Verify] says so.
func (c *Client) Backup(ctx context.Context, stale bool, begin func(name string) (io.Writer, error)) error {
	q := call{method: http.MethodGet, path: pathSnapshot, accept: backup.MediaType, stream: &stream{
		take: func(header http.Header, body io.Reader) error {
			_, params, _ := mime.ParseMediaType(header.Get("Content-Disposition"))
			if got := header.Get("Content-Type"); got != backup.MediaType {
				return fmt.Errorf("%w: a %q in place of a backup", ErrAnswer, got)
			}
			out, err := begin(params["filename"])
			if err != nil {
				return fatal{err}
			}
			_, err = io.Copy(local{out}, body)
			return err //nolint:wrapcheck // the caller names the server
		},
	}}
	if stale {
		q.query = url.Values{"consistency": {string(wire.ConsistencyStale)}}
	}
	if _, err := c.do(ctx, q); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// local marks what goes wrong on this side: no other server mends it.
type local struct{ out io.Writer }

// Write implements io.Writer.
func (l local) Write(p []byte) (int, error) {
	n, err := l.out.Write(p)
	if err != nil {
		return n, fatal{err}
	}
	return n, nil
}

// restoreWait is how long a cluster may take to restore what it has received.
const restoreWait = time.Hour

// RestoreWish is what is given up for a backup.
type RestoreWish struct {
	// ReplaceCluster is the ID of the present cluster, if the backup is of another one.
	ReplaceCluster string
	// ForceOlder gives up what the same cluster did after the backup.
	ForceOlder bool
}

// RestoreBackup puts a backup in the place of the cluster's state. Open is called for each
// try. If the error wraps [ErrOutcomeUnknown] the cluster may have been restored, and
// says so itself if it was.
func (c *Client) RestoreBackup(ctx context.Context, w RestoreWish, open func() (content io.ReadCloser, size int64, err error)) (wire.RestoredBackup, error) {
	q := call{method: http.MethodPut, path: pathSnapshot, query: url.Values{}, contentType: backup.MediaType, wait: restoreWait, once: true, stream: &stream{give: open}}
	if w.ReplaceCluster != "" {
		q.query.Set("replaceCluster", w.ReplaceCluster)
	}
	if w.ForceOlder {
		q.query.Set("forceOlder", strconv.FormatBool(true))
	}
	done, err := get[wire.RestoredBackup](ctx, c, q)
	if err != nil {
		return done, fmt.Errorf("restore: %w", err)
	}
	return done, nil
}

// Backups tells how the scheduled backups are doing.
func (c *Client) Backups(ctx context.Context) (wire.Backups, error) {
	b, err := get[wire.Backups](ctx, c, call{method: http.MethodGet, path: pathBackups})
	if err != nil {
		return b, fmt.Errorf("scheduled backups: %w", err)
	}
	return b, nil
}
