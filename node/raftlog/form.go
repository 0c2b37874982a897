package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

// ErrDamaged says that what a node kept on its disk is not what it wrote. The node must
// not take part: it would vote and lead without what it promised to remember.
var ErrDamaged = errors.New("the data of this node is damaged")

// What Raft calls its values, and how the node is called whose log it is.
const (
	KeyCurrentTerm  = "CurrentTerm"
	KeyLastVoteTerm = "LastVoteTerm"
	KeyLastVoteCand = "LastVoteCand"
	KeyNodeID       = "KeystewardNodeID"
)

// Keys in the store: a letter, and the index of an entry (8 bytes, big endian) or the name
// of a value.
const (
	kindEntry = 'e'
	kindValue = 'v'

	indexBytes = 8
	sumBytes   = 4
	// headBytes are before the data of an entry: its term, when it was appended (Unix time
	// in nanoseconds), its type, and the checksum.
	headBytes = 8 + 8 + 1 + sumBytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func entryKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindEntry}, index)
}

func valueKey(name []byte) []byte { return append([]byte{kindValue}, name...) }

// putEntry writes an entry into its place in a batch.
func putEntry(key, value []byte, l *raft.Log) {
	key[0] = kindEntry
	binary.BigEndian.PutUint64(key[1:], l.Index)
	binary.BigEndian.PutUint64(value, l.Term)
	var at uint64
	if !l.AppendedAt.IsZero() {
		at = uint64(l.AppendedAt.UnixNano())
	}
	binary.BigEndian.PutUint64(value[8:], at)
	value[16] = byte(l.Type)
	copy(value[headBytes:], l.Data)
	binary.BigEndian.PutUint32(value[headBytes-sumBytes:], entrySum(key, value))
}

// entrySum is over all of an entry but the sum itself.
func entrySum(key, value []byte) uint32 {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value[:headBytes-sumBytes])
	return crc32.Update(sum, castagnoli, value[headBytes:])
}

// readEntry copies an entry out of the store.
func readEntry(key, value []byte, l *raft.Log) error {
	if len(key) != 1+indexBytes {
		return fmt.Errorf("%w: a log entry has the key %x", ErrDamaged, key)
	}
	index := binary.BigEndian.Uint64(key[1:])
	if len(value) < headBytes {
		return fmt.Errorf("%w: log entry %d has %d bytes", ErrDamaged, index, len(value))
	}
	if binary.BigEndian.Uint32(value[headBytes-sumBytes:]) != entrySum(key, value) {
		return fmt.Errorf("%w: log entry %d does not match its checksum", ErrDamaged, index)
	}
	*l = raft.Log{Index: index, Term: binary.BigEndian.Uint64(value), Type: raft.LogType(value[16])}
	if at := binary.BigEndian.Uint64(value[8:]); at != 0 {
		l.AppendedAt = time.Unix(0, int64(at)) //nolint:gosec // what was written
	}
	l.Data = append([]byte(nil), value[headBytes:]...)
	return nil
}

// sealValue is a value with its checksum.
func sealValue(name, value []byte) []byte {
	b := make([]byte, 0, len(value)+sumBytes)
	return binary.BigEndian.AppendUint32(append(b, value...), valueSum(name, value))
}

func valueSum(name, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(name, castagnoli), castagnoli, value)
}

// openValue takes the checksum off a value, which shares its bytes with the result.
func openValue(name, b []byte) ([]byte, error) {
	at := len(b) - sumBytes
	if at < 0 || binary.BigEndian.Uint32(b[at:]) != valueSum(name, b[:at]) {
		return nil, fmt.Errorf("%w: the value of %s does not match its checksum", ErrDamaged, name)
	}
	return b[:at], nil
}

// number reads a value that is one.
func number(name, b []byte) (uint64, error) {
	if len(b) != indexBytes {
		return 0, fmt.Errorf("%w: the value of %s has %d bytes", ErrDamaged, name, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}
