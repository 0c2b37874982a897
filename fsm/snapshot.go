package fsm

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"iter"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// SnapshotFormat is the version of the stream that [View.WriteTo] writes.
const SnapshotFormat = 1

// Numbers of records of which there are as many as keys.
const (
	keyRecord     = 5
	depositRecord = 8
)

var marshal = proto.MarshalOptions{Deterministic: true}

// WriteTo streams the whole state as length-delimited [fsmpb.Record]s, between
// a header and a trailer with the SHA-256 of all before it. The bytes depend on
// nothing but the state.
func (v *View) WriteTo(out io.Writer) (int64, error) {
	s := &recordWriter{out: out, sum: sha256.New()}
	s.put(&fsmpb.Record{Record: &fsmpb.Record_Header{Header: &fsmpb.Header{Format: SnapshotFormat}}})
	for r := range v.recordsBut(s.putPacked) {
		if s.put(r); s.err != nil {
			break
		}
	}
	s.flush()
	s.put(&fsmpb.Record{Record: &fsmpb.Record_Trailer{Trailer: &fsmpb.Trailer{Records: s.records, Sha256: s.sum.Sum(nil)}}})
	if s.flush(); s.err != nil {
		return s.n, fmt.Errorf("write snapshot: %w", s.err)
	}
	return s.n, nil
}

// Hash is the SHA-256 over the state: equal on all machines that applied the
// same log, whatever way they got there.
func (v *View) Hash() [sha256.Size]byte {
	h := sha256.New()
	if _, err := v.WriteTo(h); err != nil {
		panic(fmt.Sprintf("hash the state: %v", err)) // a hash takes every write
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// records lists everything in the order of the restore.
func (v *View) records() iter.Seq[*fsmpb.Record] { return v.recordsBut(nil) }

// recordsBut is records, but hands deposits that are packed to somebody else, unless
// that is nil, until he returns false.
func (v *View) recordsBut(packed func(*packedDeposit) bool) iter.Seq[*fsmpb.Record] {
	return func(yield func(*fsmpb.Record) bool) {
		_ = yield(&fsmpb.Record{Record: &fsmpb.Record_Meta{Meta: v.Meta()}}) &&
			each(v, tableMembers, yield, func(m *fsmpb.Member) *fsmpb.Record {
				return &fsmpb.Record{Record: &fsmpb.Record_Member{Member: m}}
			}) && each(v, tableSecrets, yield, func(s *fsmpb.Secret) *fsmpb.Record {
			return &fsmpb.Record{Record: &fsmpb.Record_Secret{Secret: s}}
		}) && each(v, tableKeys, yield, func(k *fsmpb.Key) *fsmpb.Record {
			return &fsmpb.Record{Record: &fsmpb.Record_Key{Key: k}}
		}) && each(v, tableRequests, yield, func(r *fsmpb.Request) *fsmpb.Record {
			return &fsmpb.Record{Record: &fsmpb.Record_Request{Request: r}}
		}) && each(v, tableAllocations, yield, func(a *fsmpb.Allocation) *fsmpb.Record {
			return &fsmpb.Record{Record: &fsmpb.Record_Allocation{Allocation: a}}
		}) && v.eachDeposit(packed, func(d *fsmpb.Deposit) bool {
			return yield(&fsmpb.Record{Record: &fsmpb.Record_Deposit{Deposit: d}})
		}) && each(v, tableAccounts, yield, func(a *fsmpb.Account) *fsmpb.Record {
			return &fsmpb.Record{Record: &fsmpb.Record_Account{Account: a}}
		}) && each(v, tableStatus, yield, func(s *fsmpb.DepositStatus) *fsmpb.Record {
			return &fsmpb.Record{Record: &fsmpb.Record_DepositStatus{DepositStatus: s}}
		}) && each(v, tableTokens, yield, func(t *fsmpb.Token) *fsmpb.Record {
			return &fsmpb.Record{Record: &fsmpb.Record_Token{Token: t}}
		}) && each(v, tableObjects, yield, func(o *fsmpb.Object) *fsmpb.Record {
			return &fsmpb.Record{Record: &fsmpb.Record_Object{Object: o}}
		}) && each(v, tableCertificates, yield, func(c *fsmpb.Certificate) *fsmpb.Record {
			return &fsmpb.Record{Record: &fsmpb.Record_Certificate{Certificate: c}}
		}) && each(v, tableStaging, yield, func(s *fsmpb.Staged) *fsmpb.Record {
			return &fsmpb.Record{Record: &fsmpb.Record_Staged{Staged: s}}
		}) && each(v, tableAudit, yield, func(a *fsmpb.Audit) *fsmpb.Record {
			return &fsmpb.Record{Record: &fsmpb.Record_Audit{Audit: a}}
		})
	}
}

// each yields one table's rows and reports whether to go on.
func each[T any](v *View, table string, yield func(*fsmpb.Record) bool, wrap func(T) *fsmpb.Record) bool {
	for row := range lowerBound[T](v.txn, table, nil) {
		if !yield(wrap(row)) {
			return false
		}
	}
	return true
}

func (v *View) eachDeposit(packed func(*packedDeposit) bool, yield func(*fsmpb.Deposit) bool) bool {
	ok := true
	must(v.txn.Ascend(tableDeposits, indexID, nil, func(row any) bool {
		if p, is := row.(*packedDeposit); is && packed != nil {
			ok = packed(p)
		} else {
			ok = yield(rowOf[*fsmpb.Deposit](row, nil))
		}
		return ok
	}))
	return ok
}

// recordWriter writes records until the first error.
type recordWriter struct {
	out     io.Writer
	sum     hash.Hash
	waiting []byte // to be written, and for the sum
	n       int64
	records uint64
	err     error
}

// writeAtOnce is how many bytes, at least, are written at once.
const writeAtOnce = 64 << 10

func (s *recordWriter) put(r *fsmpb.Record) {
	if s.err != nil {
		return
	}
	s.waiting = protowire.AppendVarint(s.waiting, uint64(proto.Size(r))) //nolint:gosec // a length
	s.waiting, s.err = marshal.MarshalAppend(s.waiting, r)
	s.written()
}

// putPacked is put for a deposit that is encoded already. It reports whether to go on.
func (s *recordWriter) putPacked(d *packedDeposit) bool {
	if s.err == nil {
		s.waiting = protowire.AppendVarint(s.waiting, uint64(protowire.SizeTag(depositRecord)+protowire.SizeBytes(len(d.encoded)))) //nolint:gosec // a length
		s.waiting = protowire.AppendTag(s.waiting, depositRecord, protowire.BytesType)
		s.waiting = protowire.AppendBytes(s.waiting, d.encoded)
		s.written()
	}
	return s.err == nil
}

func (s *recordWriter) written() {
	s.records++
	if len(s.waiting) >= writeAtOnce {
		s.flush()
	}
}

func (s *recordWriter) flush() {
	if s.err != nil {
		return
	}
	_, _ = s.sum.Write(s.waiting)
	var n int
	n, s.err = s.out.Write(s.waiting)
	s.n += int64(n)
	s.waiting = s.waiting[:0]
}
