package fsm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// recordReader reads records and hashes the bytes of all but the last one.
type recordReader struct {
	in      *bufio.Reader
	sum     hash.Hash
	last    []byte // the record that was read last, with its length in front
	records uint64
}

// next returns a record or, of the kinds of which there are as many as keys, its row.
func (r *recordReader) next() (*fsmpb.Record, any, error) {
	encoded, err := r.read()
	if err != nil {
		return nil, nil, err
	}
	var rec *fsmpb.Record
	row, err := commonRow(encoded)
	if row == nil && err == nil {
		rec = &fsmpb.Record{}
		err = proto.Unmarshal(encoded, rec)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("record %d: %w: %w", r.records, ErrDamaged, err)
	}
	r.records++
	return rec, row, nil
}

// read returns a record as it is encoded, until the next one is read.
func (r *recordReader) read() ([]byte, error) {
	_, _ = r.sum.Write(r.last)
	size, err := r.length()
	if err == nil && size > maxRecord {
		return nil, fmt.Errorf("record %d has %d bytes: %w", r.records, size, ErrDamaged)
	}
	if err == nil {
		at := len(r.last)
		r.last = slices.Grow(r.last, int(size))[:at+int(size)] //nolint:gosec // at most maxRecord
		if _, err = io.ReadFull(r.in, r.last[at:]); err == nil {
			return r.last[at:], nil
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("the stream ends early: %w", ErrDamaged)
	}
	return nil, fmt.Errorf("record %d: %w", r.records, err)
}

// length reads the length of a record, and keeps it as it was written.
func (r *recordReader) length() (uint64, error) {
	for r.last = r.last[:0]; len(r.last) < binary.MaxVarintLen64; {
		b, err := r.in.ReadByte()
		if err != nil {
			return 0, err //nolint:wrapcheck // the caller says where
		}
		if r.last = append(r.last, b); b < 1<<7 {
			break
		}
	}
	size, n := binary.Uvarint(r.last)
	if n <= 0 {
		return 0, fmt.Errorf("%w: no length", ErrDamaged)
	}
	return size, nil
}

// commonRow decodes a record of a key or a final deposit without what is around it, and
// returns nil for others and for all that is not exactly as it is written.
func commonRow(record []byte) (any, error) {
	number, kind, n := protowire.ConsumeTag(record)
	if n < 0 || kind != protowire.BytesType || number != keyRecord && number != depositRecord {
		return nil, nil //nolint:nilnil // another
	}
	encoded, m := protowire.ConsumeBytes(record[n:])
	if m < 0 || n+m != len(record) {
		return nil, nil //nolint:nilnil // likewise
	}
	if number == depositRecord {
		if p := packedOf(encoded); p != nil {
			return p, nil
		}
		return nil, nil //nolint:nilnil // one that is not final
	}
	k := &fsmpb.Key{}
	return k, proto.Unmarshal(encoded, k) //nolint:wrapcheck // the caller says where
}
