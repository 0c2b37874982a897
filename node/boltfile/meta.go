package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
)

// ErrDamaged says that a file is not as bbolt left it.
var ErrDamaged = errors.New("damaged")

const (
	magic      = 0xED0CDAED
	version    = 2
	headerSize = 16 // of a page
	metaSize   = 64 // with its checksum
	minPages   = 4  // of a new file
	noFreelist = ^uint64(0)

	flagBranch = 0x01
	flagLeaf   = 0x02
	flagMeta   = 0x04
)

// meta is one of the two pages that say where everything begins.
type meta struct {
	pageSize int
	root     uint64 // page of the bucket of all buckets
	pages    uint64 // how many there are
	txid     uint64
}

// little reads as bbolt writes on this and nearly every machine.
var little = binary.LittleEndian

func readMeta(f *os.File, offset int64) (meta, error) {
	b := make([]byte, headerSize+metaSize)
	if _, err := f.ReadAt(b, offset); err != nil {
		return meta{}, err //nolint:wrapcheck // the caller says which
	}
	flags, b := little.Uint16(b[8:]), b[headerSize:]
	m := meta{
		pageSize: int(little.Uint32(b[8:])), root: little.Uint64(b[16:]),
		pages: little.Uint64(b[40:]), txid: little.Uint64(b[48:]),
	}
	sum := fnv.New64a()
	_, _ = sum.Write(b[:56])
	switch {
	case flags != flagMeta, little.Uint32(b) != magic:
		return m, errors.New("is none")
	case little.Uint32(b[4:]) != version:
		return m, fmt.Errorf("has the version %d, not %d", little.Uint32(b[4:]), version)
	case sum.Sum64() != little.Uint64(b[56:]):
		return m, errors.New("does not match its checksum")
	case m.pageSize < 512 || m.pageSize > 1<<16 || m.pageSize&(m.pageSize-1) != 0:
		return m, fmt.Errorf("tells of pages of %d bytes", m.pageSize)
	}
	return m, nil
}

// readMetas returns the newer of both. Both have to be there, of two transactions one
// after the other: with one of them missing nobody knows whether it was the newer one.
func readMetas(f *os.File, size int64) (meta, error) {
	first, err := readMeta(f, 0)
	if unread(err) {
		return first, err
	}
	if err != nil {
		return first, fmt.Errorf("%w: its first meta page %w", ErrDamaged, err)
	}
	second, err := readMeta(f, int64(first.pageSize))
	if unread(err) {
		return second, err
	}
	if err != nil {
		return second, fmt.Errorf("%w: its second meta page %w", ErrDamaged, err)
	}
	newer, older := first, second
	if newer.txid < older.txid {
		newer, older = older, newer
	}
	if newer.txid != older.txid+1 || newer.pageSize != older.pageSize {
		return newer, fmt.Errorf("%w: its meta pages are of the transactions %d and %d, which do not follow each other", ErrDamaged, older.txid, newer.txid)
	}
	if pages := uint64(size) / uint64(newer.pageSize); newer.pages > pages || newer.pages < minPages { //nolint:gosec // both are positive
		return newer, fmt.Errorf("%w: it should have %d pages, and has %d", ErrDamaged, newer.pages, pages)
	}
	return newer, nil
}

// unread tells of an error of the system that says nothing about what is in the file. The
// end of the file does.
func unread(err error) bool {
	var failed *fs.PathError
	return errors.As(err, &failed) && !errors.Is(err, io.EOF)
}
