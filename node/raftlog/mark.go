package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// markFile is in the folder of the store, which does not know it.
const markFile = "MARK"

// mark is what had been written at least: of a log whose end is missing, the store takes
// what is left for all there ever was. It is written after each write and not synced, so
// that it survives the death of the process; a power cut may leave an older one, which is
// less and never too much. Only where it says less than before it is synced first.
type mark struct {
	last, lastTerm uint64 // of the newest entry
	term, voteTerm uint64
}

const markBytes = 8 + 4*8 + sumBytes

var markMagic = [8]byte{'k', 's', 'w', 'm', 'a', 'r', 'k', '1'}

func (m mark) encode() []byte {
	b := append(make([]byte, 0, markBytes), markMagic[:]...)
	for _, v := range []uint64{m.last, m.lastTerm, m.term, m.voteTerm} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// readMark reads the mark of a folder. The error wraps ErrDamaged if there is none.
func readMark(folder string) (m mark, err error) {
	path := filepath.Join(folder, markFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("%w: %s is gone", ErrDamaged, path)
	}
	if err != nil {
		return m, err //nolint:wrapcheck // names the file
	}
	at := len(b) - sumBytes
	if len(b) != markBytes || [8]byte(b) != markMagic || binary.BigEndian.Uint32(b[at:]) != crc32.Checksum(b[:at], castagnoli) {
		return m, fmt.Errorf("%w: %s does not match its checksum", ErrDamaged, path)
	}
	for i, v := range []*uint64{&m.last, &m.lastTerm, &m.term, &m.voteTerm} {
		*v = binary.BigEndian.Uint64(b[8+8*i:])
	}
	return m, nil
}

// marker writes the mark.
type marker struct {
	mark
	file *os.File
}

// openMarker opens the mark of a folder and writes it, for good.
func openMarker(folder string, m mark) (*marker, error) {
	f, err := os.OpenFile(filepath.Join(folder, markFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the file
	}
	k := &marker{file: f}
	if err := errors.Join(k.write(m), f.Sync()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return k, nil
}

func (k *marker) write(m mark) error {
	k.mark = m
	_, err := k.file.WriteAt(m.encode(), 0)
	return err //nolint:wrapcheck // names the file
}

// raise writes that there is more, which is on the disk.
func (k *marker) raise(m mark) error {
	if m == k.mark {
		return nil
	}
	return k.write(m)
}

// lower writes that there will be less.
func (k *marker) lower(m mark) error {
	if err := k.write(m); err != nil {
		return err
	}
	return k.file.Sync() //nolint:wrapcheck // names the file
}
