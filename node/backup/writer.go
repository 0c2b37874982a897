package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
)

const (
	magic = "keysteward backup "
	// first is the first line of a file of this format.
	first = magic + "1\n"

	maxChunk    = 256 << 10 // bytes of the stream between two tags
	maxManifest = 1 << 20   // the keyring is the largest part of it
	maxTrailer  = 1 << 10
	lastPart    = 1 << 31 // bit of a length: the trailer follows
	tagBytes    = sha256.Size
)

var errNoKey = errors.New("the key of a backup is empty")

// Writer writes a backup: the stream goes into Write, and Close ends the file. A file
// that was not closed is one that was cut off.
type Writer struct {
	out   io.Writer
	chain *chain
	sum   hash.Hash
	n     int64
	head  [sha256.Size]byte // of the manifest
	chunk []byte
	err   error
}

// NewWriter writes the manifest and takes the stream from then on. It keeps one chunk
// in memory.
func NewWriter(out io.Writer, key Key, m *Manifest) (*Writer, error) {
	if key.inner == nil {
		return nil, errNoKey
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("manifest of a backup: %w", err)
	}
	encoded, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("manifest of a backup: %w", err)
	}
	if len(encoded) > maxManifest {
		return nil, fmt.Errorf("manifest of a backup: %d bytes, at most %d", len(encoded), maxManifest)
	}
	w := &Writer{out: out, chain: newChain(key), sum: sha256.New(), head: sha256.Sum256(encoded), chunk: make([]byte, 0, maxChunk)}
	if w.err = writeAll(out, []byte(first)); w.err == nil {
		w.part(first, 0, encoded)
	}
	return w, w.err
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 && w.err == nil {
		n := min(len(p), maxChunk-len(w.chunk))
		w.chunk = append(w.chunk, p[:n]...)
		p, written = p[n:], written+n
		if len(w.chunk) == maxChunk {
			w.flush()
		}
	}
	return written, w.err
}

// Close writes what is left and the end of the file. It does not close what is
// written to.
func (w *Writer) Close() error {
	if w.flush(); w.err != nil {
		return w.err
	}
	trailer, err := json.Marshal(Trailer{Bytes: w.n, SHA256: w.sum.Sum(nil), ManifestSHA256: w.head[:]})
	if err != nil {
		return fmt.Errorf("end of a backup: %w", err)
	}
	if w.part("", lastPart, trailer); w.err != nil {
		return w.err
	}
	w.err = io.ErrClosedPipe
	return nil
}

func (w *Writer) flush() {
	if w.err != nil || len(w.chunk) == 0 {
		return
	}
	_, _ = w.sum.Write(w.chunk)
	w.n += int64(len(w.chunk))
	w.part("", 0, w.chunk)
	w.chunk = w.chunk[:0]
}

// part writes length, content and tag.
func (w *Writer) part(before string, flag uint32, content []byte) {
	head := flag | uint32(len(content)) //nolint:gosec // bounded by the callers
	w.err = writeAll(w.out, binary.BigEndian.AppendUint32(nil, head), content, w.chain.next(before, head, content))
}

func writeAll(out io.Writer, parts ...[]byte) error {
	for _, p := range parts {
		if _, err := out.Write(p); err != nil {
			return fmt.Errorf("write backup: %w", err)
		}
	}
	return nil
}
