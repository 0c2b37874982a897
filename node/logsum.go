package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

// ErrDamaged says that what a node kept on its disk is not what it wrote. The node must
// not take part: it would vote and lead without what it promised to remember.
var ErrDamaged = errors.New("the data of this node is damaged")

// Every entry of the log is kept with a checksum over what it says, in the field that Raft
// leaves to others. It stands on this disk alone: it is added by whoever writes and taken
// away by whoever reads. Entries of older versions have none.
const (
	sumMark  = 0xC5 // what begins a checksum
	sumBytes = 1 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendSum appends the entry's checksum.
func appendSum(b []byte, l *raft.Log) []byte {
	var head [17]byte
	binary.BigEndian.PutUint64(head[0:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	sum := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, l.Data)
	return binary.BigEndian.AppendUint32(append(b, sumMark), sum)
}

// summed returns copies of the entries with their checksums.
func summed(logs []*raft.Log) []*raft.Log {
	copies, sums := make([]raft.Log, len(logs)), make([]byte, 0, len(logs)*sumBytes)
	list := make([]*raft.Log, len(logs))
	for i, l := range logs {
		from := len(sums)
		sums = appendSum(sums, l)
		copies[i] = *l
		copies[i].Extensions = sums[from:len(sums):len(sums)]
		list[i] = &copies[i]
	}
	return list
}

// checkSum takes the checksum away from an entry that was read under an index. It
// reports whether there was one.
func checkSum(index uint64, l *raft.Log) (had bool, err error) {
	var room [sumBytes]byte
	sum := l.Extensions
	l.Extensions = nil
	switch {
	case l.Index != index:
		return false, fmt.Errorf("%w: log entry %d says that it is %d", ErrDamaged, index, l.Index)
	case len(sum) == 0:
		return false, nil
	case string(appendSum(room[:0], l)) != string(sum):
		return false, fmt.Errorf("%w: log entry %d does not match its checksum", ErrDamaged, index)
	}
	return true, nil
}

// Numbers of the stable store are kept with a checksum behind them, which older versions
// do not read.
const numberBytes = 8

// sealValue is a value of the stable store with its checksum.
func sealValue(key, value []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
	b := make([]byte, 0, len(value)+sumBytes)
	return binary.BigEndian.AppendUint32(append(append(b, value...), sumMark), sum)
}

// unsealValue takes the checksum off a value of the stable store. An older version wrote
// none, behind a number of 8 bytes or a text, which has no such byte.
func unsealValue(key, b []byte) ([]byte, error) {
	at := len(b) - sumBytes
	if at < 0 || b[at] != sumMark {
		return b, nil
	}
	if string(sealValue(key, b[:at])) != string(b) {
		return nil, fmt.Errorf("%w: the value of %s does not match its checksum", ErrDamaged, key)
	}
	return b[:at], nil
}
