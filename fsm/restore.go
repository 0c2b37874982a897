package fsm

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/fsm/memdb"
)

// maxRecord bounds one record of a snapshot, in bytes: an allocation of
// MaxKeysPerPod keys, or what one command of maxCommand brought.
const maxRecord = 8 << 20

// Restore replaces the whole state by the one of a stream that [View.WriteTo]
// wrote. It reads record by record. On an error, which wraps [ErrDamaged]
// unless reading itself failed, the old state stays.
func (m *Machine) Restore(in io.Reader) error {
	s := newStore()
	txn := s.db.Txn(true)
	defer txn.Abort()
	if err := restore(txn, in); err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	txn.Commit()
	m.become(s)
	return nil
}

func restore(txn *memdb.Txn, in io.Reader) error {
	r := &recordReader{in: bufio.NewReaderSize(in, 1<<16), sum: sha256.New()}
	common := &sharing{txn: txn, pods: make(map[podIdentity]*fsmpb.Pod)}
	head, _, err := r.next()
	if err != nil {
		return err
	}
	if head.GetHeader().GetFormat() != SnapshotFormat {
		return fmt.Errorf("format %d, this version reads %d: %w", head.GetHeader().GetFormat(), SnapshotFormat, ErrDamaged)
	}
	for {
		rec, row, err := r.next()
		if err != nil {
			return err
		}
		if t := rec.GetTrailer(); t != nil {
			if t.GetRecords() != r.records-1 || !bytes.Equal(t.GetSha256(), r.sum.Sum(nil)) {
				return fmt.Errorf("the trailer does not match the records: %w", ErrDamaged)
			}
			if err := checkMeta(txn); err != nil {
				return err
			}
			countAllSealed(txn)
			return nil
		}
		table := tableDeposits
		if row == nil {
			table, row = rowOfRecord(rec)
		} else if _, ok := row.(*fsmpb.Key); ok {
			table = tableKeys
		}
		if err := insertRow(txn, table, row, common); err != nil {
			return err
		}
	}
}

// checkMeta sees to it that code which trusts the counters can.
func checkMeta(txn *memdb.Txn) error {
	meta := first[*fsmpb.Meta](txn, tableMeta, []byte{0})
	if meta == nil {
		return fmt.Errorf("no counters: %w", ErrDamaged)
	}
	if len(meta.GetKeyCounts()) != len(fsmpb.KeyState_name) || len(meta.GetDepositCounts()) != len(fsmpb.DepositState_name) {
		return fmt.Errorf("counters of %d key and %d deposit states: %w", len(meta.GetKeyCounts()), len(meta.GetDepositCounts()), ErrDamaged)
	}
	return knows(meta.GetFeatureLevel())
}

func insertRow(txn *memdb.Txn, table string, row any, common *sharing) error {
	if row == nil {
		return fmt.Errorf("a record of an unknown kind: %w", ErrDamaged)
	}
	if !isSound(row) {
		return fmt.Errorf("%s: a row without a name or in an unknown state: %w", table, ErrDamaged)
	}
	common.share(row)
	if err := txn.Append(table, pack(row)); err != nil {
		return fmt.Errorf("%s: %w: %w", table, ErrDamaged, err)
	}
	return nil
}

// isSound reports whether a row has what the code relies on wherever it reads
// one. Whether the rows agree with each other is for [View.Check].
func isSound(row any) bool {
	switch r := row.(type) {
	case *fsmpb.Key:
		return len(r.GetPubkey()) == PubkeyLength && known(fsmpb.KeyState_name, int32(r.GetState()))
	case *fsmpb.Deposit:
		return len(r.GetPubkey()) == PubkeyLength && known(fsmpb.DepositState_name, int32(r.GetState()))
	case *fsmpb.Allocation:
		return checkPod(r.GetPod()) == nil && known(fsmpb.AllocationState_name, int32(r.GetState()))
	case *fsmpb.Request:
		return checkPod(r.GetPod()) == nil && size(r.GetReserved()) <= r.GetWant()
	case *fsmpb.Member:
		return r.GetNodeId() != ""
	case *fsmpb.Secret:
		return r.GetName() != ""
	case *fsmpb.Staged:
		return len(r.GetData()) > 0 && len(r.GetData()) <= MaxStagePart
	case *fsmpb.Token:
		return checkToken(r) == nil && r.GetId() == tokenID(r)
	}
	return isSoundCloud(row)
}

func known(states map[int32]string, state int32) bool { return states[state] != "" && state != 0 }

// isSoundCloud is isSound for the rows of logical clouds.
func isSoundCloud(row any) bool {
	switch r := row.(type) {
	case *fsmpb.Object:
		return checkObject(r) == nil && (r.GetCloud() == nil || known(fsmpb.CloudState_name, int32(r.GetCloud().GetState())))
	case *fsmpb.Certificate:
		return r.GetProject() != "" && r.GetCloud() != "" && r.GetReference() != "" && known(fsmpb.CertificateState_name, int32(r.GetState()))
	}
	return true
}

func rowOfRecord(rec *fsmpb.Record) (string, any) {
	switch r := rec.GetRecord().(type) {
	case *fsmpb.Record_Meta:
		return tableMeta, r.Meta
	case *fsmpb.Record_Member:
		return tableMembers, r.Member
	case *fsmpb.Record_Secret:
		return tableSecrets, r.Secret
	case *fsmpb.Record_Key:
		return tableKeys, r.Key
	case *fsmpb.Record_Request:
		return tableRequests, r.Request
	case *fsmpb.Record_Allocation:
		return tableAllocations, r.Allocation
	case *fsmpb.Record_Deposit:
		return tableDeposits, r.Deposit
	case *fsmpb.Record_Account:
		return tableAccounts, r.Account
	case *fsmpb.Record_DepositStatus:
		return tableStatus, r.DepositStatus
	case *fsmpb.Record_Token:
		return tableTokens, r.Token
	case *fsmpb.Record_Object:
		return tableObjects, r.Object
	case *fsmpb.Record_Certificate:
		return tableCertificates, r.Certificate
	case *fsmpb.Record_Staged:
		return tableStaging, r.Staged
	case *fsmpb.Record_Audit:
		return tableAudit, r.Audit
	}
	return "", nil
}
