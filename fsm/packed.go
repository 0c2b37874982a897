package fsm

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// packedDeposit is a final deposit as the tables keep it: encoded. There are as many as
// keys, they are hardly ever looked at, and a message takes twice the memory of its
// encoding. Nobody but [pack] and [unpack] knows.
type packedDeposit struct {
	encoded    []byte
	signedAtMS uint64
	seq        uint64
}

// pubkeyAt is where the encoding of a deposit has its public key: the first field, behind
// its tag and its length.
const pubkeyAt = 2

// pack makes a row as the tables keep it.
func pack(row any) any {
	d, ok := row.(*fsmpb.Deposit)
	if !ok || isOpen(d) || len(d.GetPubkey()) != PubkeyLength {
		return row
	}
	encoded, err := marshal.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("encode the deposit for %x: %v", d.GetPubkey(), err)) // it was decoded once
	}
	return &packedDeposit{encoded: encoded, signedAtMS: d.GetSignedAtMs(), seq: d.GetSeq()}
}

// packedOf packs a final deposit that is encoded already; nil if it is not final, or not
// encoded in the very way in which [pack] would do it.
func packedOf(encoded []byte) *packedDeposit {
	p := &packedDeposit{}
	state := uint64(0)
	first, ok := plainFields(encoded, depositFields, func(number protowire.Number, value uint64, b []byte) bool {
		switch number { //nolint:exhaustive // others need no look
		case 1:
			return len(b) == PubkeyLength
		case 2: //nolint:mnd // numbers of the fields, as in fsm.proto
			state = value
		case 3: //nolint:mnd // likewise
			p.seq = value
		case 9: //nolint:mnd // likewise
			_, ok := plainFields(b, attemptFields, func(protowire.Number, uint64, []byte) bool { return true })
			return ok
		case 20: //nolint:mnd // likewise
			p.signedAtMS = value
		}
		return true
	})
	if !ok || first != 1 || state != uint64(fsmpb.DepositState_DEPOSIT_STATE_FINAL) {
		return nil
	}
	p.encoded = bytes.Clone(encoded)
	return p
}

// Types of the fields of deposits, without losses, and of attempts: bytes and numbers.
const (
	depositFields = "?bnnnbbnb*nbb???????n"
	attemptFields = "?nbbnnnn"
)

// plainFields calls visit for the fields of a message that has no others than these, in
// their order and none that is empty, and returns the number of the first. The types are
// by number: b for bytes, * for bytes that there may be several of, n for a number.
func plainFields(message []byte, types string, visit func(number protowire.Number, value uint64, b []byte) bool) (first protowire.Number, ok bool) {
	last := protowire.Number(0)
	for left := message; len(left) > 0; {
		number, kind, n := protowire.ConsumeTag(left)
		if n < 0 || n != protowire.SizeTag(number) || int(number) >= len(types) {
			return 0, false
		}
		left = left[n:]
		want := types[number]
		if number < last || number == last && want != '*' {
			return 0, false
		}
		value, b, n := plainField(left, want, kind)
		if n <= 0 || !visit(number, value, b) {
			return 0, false
		}
		if last == 0 {
			first = number
		}
		left, last = left[n:], number
	}
	return first, true
}

// plainField reads a field behind its tag; n is how long it is, and not positive for one
// that is of another type, empty, or longer than it must be.
func plainField(left []byte, want byte, kind protowire.Type) (value uint64, b []byte, n int) {
	switch {
	case want == 'n' && kind == protowire.VarintType:
		if value, n = protowire.ConsumeVarint(left); value != 0 && n == protowire.SizeVarint(value) {
			return value, nil, n
		}
	case (want == 'b' || want == '*') && kind == protowire.BytesType:
		if b, n = protowire.ConsumeBytes(left); n == protowire.SizeBytes(len(b)) && (len(b) > 0 || want == '*') {
			return 0, b, n
		}
	}
	return 0, nil, 0
}

// unpack makes a row as the code knows it; what comes of a packed one is the caller's own.
func unpack(row any) any {
	p, ok := row.(*packedDeposit)
	if !ok {
		return row
	}
	d := &fsmpb.Deposit{}
	if err := proto.Unmarshal(p.encoded, d); err != nil {
		panic(fmt.Sprintf("decode a final deposit: %v", err)) // we encoded it
	}
	return d
}

// depositIndex is the indexes of deposits, which need not decode those that are packed.
type depositIndex struct {
	rowIndex[*fsmpb.Deposit]

	packed func(*packedDeposit) []byte // nil: none is in it
}

// FromObject implements memdb.Indexer.
func (x depositIndex) FromObject(raw any) (bool, []byte, error) {
	p, ok := raw.(*packedDeposit)
	switch {
	case !ok:
		return x.rowIndex.FromObject(raw)
	case x.packed == nil:
		return false, nil, nil
	}
	return true, x.packed(p), nil
}

// pubkey is a part of the encoding: the index needs no copy.
func (p *packedDeposit) pubkey() []byte {
	return p.encoded[pubkeyAt : pubkeyAt+PubkeyLength : pubkeyAt+PubkeyLength]
}

func (p *packedDeposit) signedKey() []byte { return append(orderKey(p.signedAtMS), orderKey(p.seq)...) }
