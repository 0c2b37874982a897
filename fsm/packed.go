package fsm

import (
	"fmt"

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
