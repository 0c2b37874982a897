package node

import (
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	// pieceBytes of a snapshot are written at a time.
	pieceBytes = 1 << 20
	// mostRest bounds how long is waited between two of them.
	mostRest = 20 * time.Millisecond
)

// pacedWriter writes a snapshot in pieces. Each is brought to the disk at once: all
// of it in the end would keep the log's own writes waiting, and with them the clients.
// After each it rests for as long as the piece took, so that the snapshot has half a
// core and not a whole one.
type pacedWriter struct {
	out   io.Writer
	sync  func()
	bytes int
	begin time.Time
}

func newPacedWriter(out io.Writer, sync func()) *pacedWriter {
	return &pacedWriter{out: out, sync: sync, begin: time.Now()}
}

// Write implements io.Writer.
func (p *pacedWriter) Write(b []byte) (int, error) {
	n, err := p.out.Write(b)
	if p.bytes += n; p.bytes < pieceBytes || err != nil {
		return n, err //nolint:wrapcheck // goes through
	}
	p.sync()
	time.Sleep(min(time.Since(p.begin), mostRest))
	p.bytes, p.begin = 0, time.Now()
	return n, nil
}

// snapshotFile is where the library writes a snapshot that is not whole yet.
func snapshotFile(dataDir, id string) string {
	return filepath.Join(dataDir, "snapshots", id+".tmp", "state.bin")
}

// syncSnapshot brings to the disk what was written of the snapshot so far. It is no more
// than a help, as the library syncs all of it before it counts: where its file is not
// found nothing is done.
func syncSnapshot(dataDir string, id func() string) func() {
	return func() {
		f, err := os.Open(snapshotFile(dataDir, id()))
		if err != nil {
			return
		}
		defer f.Close()
		_ = f.Sync()
	}
}
