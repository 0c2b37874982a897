package node

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
)

// What the library calls its buckets, and Raft what it keeps in the stable store.
const (
	logFile    = "raft.db"
	bucketLogs = "logs"
	bucketConf = "conf"

	keyCurrentTerm  = "CurrentTerm"
	keyLastVoteTerm = "LastVoteTerm"
	keyLastVoteCand = "LastVoteCand"
	// keyNodeID is ours: whose log it is.
	keyNodeID = "KeystewardNodeID"
)

// kept is what was read of a log, and what of it must fit together.
type kept struct {
	nodeID   string
	snapshot raft.SnapshotMeta // the newest; zero without
	// forgive hears of damaged entries that the snapshot has in it; nil for an error.
	forgive func(index uint64, err error)

	entries  int
	unsummed int    // of older versions
	run      uint64 // the first of those at the end that follow each other
	last     uint64
	lastTerm uint64

	term, voteTerm uint64
	voted          bool
	owner          string // ID of the node, empty in a log of an older version
}

// empty tells that the node never was part of a cluster.
func (k *kept) empty() bool { return k.last == 0 && k.term == 0 && k.snapshot.Index == 0 }

func (k *kept) visit(bucket string, key, value []byte) error {
	switch bucket {
	case bucketLogs:
		return k.entry(key, value)
	case bucketConf:
		return k.value(key, value)
	}
	return fmt.Errorf("%w: the log has a bucket %q", ErrDamaged, bucket)
}

func (k *kept) entry(key, value []byte) error {
	if len(key) != numberBytes {
		return fmt.Errorf("%w: a log entry has the key %x", ErrDamaged, key)
	}
	index := binary.BigEndian.Uint64(key)
	err := k.entryAt(index, value)
	if err != nil && k.forgive != nil && index <= k.snapshot.Index {
		k.forgive(index, err)
		return nil
	}
	return err
}

func (k *kept) entryAt(index uint64, value []byte) error {
	var l raft.Log
	if err := decodeEntry(value, &l); err != nil {
		return fmt.Errorf("%w: log entry %d can not be read: %w", ErrDamaged, index, err)
	}
	had, err := checkSum(index, &l)
	if err != nil {
		return err
	}
	if !had {
		k.unsummed++
		if err := checkForm(index, &l, value); err != nil {
			return err
		}
	}
	if k.entries == 0 || index != k.last+1 {
		k.run = index
	} else if l.Term < k.lastTerm {
		return fmt.Errorf("%w: log entry %d is of term %d, the one before of term %d", ErrDamaged, index, l.Term, k.lastTerm)
	}
	k.entries++
	k.last, k.lastTerm = index, l.Term
	return nil
}

func decodeEntry(b []byte, l *raft.Log) error {
	return codec.NewDecoderBytes(b, new(codec.MsgpackHandle)).Decode(l) //nolint:wrapcheck // the caller says which
}

// checkForm checks that an entry without a checksum is written as it would be written
// now: one that lost a field for a flipped bit is not.
func checkForm(index uint64, l *raft.Log, value []byte) error {
	handle := codec.MsgpackHandle{BasicHandle: codec.BasicHandle{TimeNotBuiltin: true}} //nolint:staticcheck // there is no other way to say it
	again := make([]byte, 0, len(value))
	if err := codec.NewEncoderBytes(&again, &handle).Encode(l); err != nil || !bytes.Equal(again, value) {
		return fmt.Errorf("%w: log entry %d has no checksum, and not the form that it was written in", ErrDamaged, index)
	}
	return nil
}

func (k *kept) value(key, value []byte) error {
	v, err := unsealValue(key, value)
	if err != nil {
		return err
	}
	switch name := string(key); name {
	case keyCurrentTerm, keyLastVoteTerm:
		if len(v) != numberBytes {
			return fmt.Errorf("%w: the value of %s has %d bytes", ErrDamaged, name, len(v))
		}
		n := binary.BigEndian.Uint64(v)
		if name == keyCurrentTerm {
			k.term = n
		} else {
			k.voteTerm = n
		}
	case keyLastVoteCand:
		k.voted = len(v) > 0
		for _, b := range v {
			if b <= ' ' || b > '~' {
				return fmt.Errorf("%w: the vote for %q is no address", ErrDamaged, v)
			}
		}
	case keyNodeID:
		k.owner = string(v)
	default:
		return fmt.Errorf("%w: the log has a value of %q", ErrDamaged, name)
	}
	return nil
}

// check looks at what must fit together.
func (k *kept) check() error {
	least := max(k.lastTerm, k.snapshot.Term)
	switch {
	case k.owner != "" && k.owner != k.nodeID:
		return fmt.Errorf("%w: the log is of the node %s, and this one is %s", ErrDamaged, k.owner, k.nodeID)
	case k.last > k.snapshot.Index && k.run > k.snapshot.Index+1:
		return fmt.Errorf("%w: the log entries %d to %d are gone", ErrDamaged, k.snapshot.Index+1, k.run-1)
	case k.term < least:
		return fmt.Errorf("%w: it remembers the term %d and has entries of term %d, so it forgot how it voted", ErrDamaged, k.term, least)
	case k.voteTerm > k.term, k.voted && k.voteTerm == 0:
		return fmt.Errorf("%w: it remembers a vote in term %d, and the term %d", ErrDamaged, k.voteTerm, k.term)
	}
	return nil
}
