// Package audit says what an audit record is and how the records of a cluster
// are chained. It is a leaf that imports nothing of ours, because three parties
// have to agree on it to the byte: the state machine, which makes the chain; a
// node, which ships it as JSON lines; and the client, which verifies what a
// server or a file gave it and trusts neither.
//
// Each record carries the SHA-256 over the hash of the record before it and all
// of its own fields. So whoever noted the hash of one record can tell later
// whether that record, or any before it, was changed, left out or put in. The
// chain is no signature: who holds a quorum of nodes can make another one, and
// only a head that was noted elsewhere shows it.
package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Versions of the definition of a record's hash.
const (
	// VersionPlain knows neither term nor outcome, and three fields of a caller.
	VersionPlain = 0
	// Version is what records are made with now.
	Version = 1
)

// OutcomeDone is the outcome of a record about a change that was made. All other
// outcomes are [Refused].
const OutcomeDone = "done"

// Refused is the outcome of a record about a change that was refused with this code.
func Refused(code string) string { return "refused: " + code }

// ErrVersion says that a record was made by a newer version of Keysteward.
var ErrVersion = errors.New("the record is of a newer version: upgrade the program that verifies it")

// Hash is a SHA-256, empty where there is none. It is 0x and hex digits as text
// and in JSON.
type Hash []byte

// String writes the hash as 0x and hex digits, empty for none.
func (h Hash) String() string {
	if len(h) == 0 {
		return ""
	}
	return "0x" + hex.EncodeToString(h)
}

// ParseHash reads what [Hash.String] writes.
func ParseHash(text string) (Hash, error) {
	if text == "" {
		return nil, nil
	}
	digits, ok := strings.CutPrefix(text, "0x")
	h, err := hex.DecodeString(digits)
	if !ok || err != nil || len(h) != sha256.Size || strings.ToLower(digits) != digits {
		return nil, fmt.Errorf("a hash is 0x and %d lower-case hex digits", 2*sha256.Size)
	}
	return h, nil
}

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHash(string(text))
	return err
}

// Record is one audit record. Its JSON is that of the API and of the shipped file.
type Record struct {
	Seq     uint64 `json:"seq"`
	Index   uint64 `json:"index"`
	Term    uint64 `json:"term"`
	Version uint32 `json:"version"`
	// WallMs is the proposer's wall clock in milliseconds since 1970, for people only.
	WallMs int64 `json:"wallMs"`
	// Caller is who asked, by field: name, role, remote and what else is known.
	// A field without a value is absent.
	Caller    map[string]string `json:"caller"`
	RequestID string            `json:"requestId"`
	Action    string            `json:"action"`
	Object    string            `json:"object"`
	Outcome   string            `json:"outcome"`
	Detail    string            `json:"detail"`
	// Hash chains the record to the one before it.
	Hash Hash `json:"hash"`
}

// Fields of a caller that [VersionPlain] knows.
const (
	CallerName   = "name"
	CallerRole   = "role"
	CallerRemote = "remote"
)

// Fields of a caller besides: how it proved who it is, and what with.
const (
	CallerMethod     = "method"
	CallerCredential = "credential"
)

// Sum computes the record's hash from its fields and the hash of the record
// before it; its own Hash is not looked at. The error is [ErrVersion], or says
// that the record has fields which its version does not cover.
func (r Record) Sum(before Hash) (Hash, error) {
	switch r.Version {
	case VersionPlain:
		return r.plainSum(before)
	case Version:
		return r.sum(before), nil
	}
	return nil, fmt.Errorf("version %d: %w", r.Version, ErrVersion)
}

// sum is SHA-256 over a text that names the definition, and the fields, each with
// its length in front; a caller is the number of its fields, and then each field's
// name and value, by name.
func (r Record) sum(before Hash) Hash {
	var room usualRecord
	var names [8]string
	s := summing(room[:0]).text("keysteward audit record, version 1").bytes(before)
	s = s.numbers(r.Seq, r.Index, r.Term, uint64(r.WallMs)) //nolint:gosec // the bit pattern is hashed, not the value
	s = s.text(r.RequestID, r.Action, r.Object, r.Outcome, r.Detail)
	s = s.numbers(uint64(len(r.Caller)))
	for _, name := range namesOf(r.Caller, names[:0]) {
		s = s.text(name, r.Caller[name])
	}
	return s.end()
}

// namesOf lists the fields of a caller by name. Those that are known are in order
// without being sorted.
func namesOf(caller map[string]string, to []string) []string {
	for _, name := range [...]string{CallerCredential, CallerMethod, CallerName, CallerRemote, CallerRole} {
		if _, has := caller[name]; has {
			to = append(to, name)
		}
	}
	if len(to) == len(caller) {
		return to
	}
	to = slices.AppendSeq(to[:0], maps.Keys(caller))
	slices.Sort(to)
	return to
}

// errNotCovered says that a field of the record is not part of its hash.
var errNotCovered = errors.New("a record of version 0 has no term, no outcome, and a caller with name, role and remote only")

func (r Record) plainSum(before Hash) (Hash, error) {
	if r.Term != 0 || r.Outcome != "" {
		return nil, errNotCovered
	}
	for name, value := range r.Caller {
		if value == "" || !slices.Contains([]string{CallerName, CallerRole, CallerRemote}, name) {
			return nil, errNotCovered
		}
	}
	var room usualRecord
	s := summing(room[:0]).bytes(before)
	s = s.numbers(r.Seq, r.Index, uint64(r.WallMs)) //nolint:gosec // the bit pattern is hashed, not the value
	s = s.text(r.Caller[CallerName], r.Caller[CallerRole], r.Caller[CallerRemote], r.RequestID, r.Action, r.Object, r.Detail)
	return s.end(), nil
}

// summing collects fields, each with its length in front.
type summing []byte

// usualRecord is room for most records, and lies on the stack: one is summed for each
// change, on every node.
type usualRecord [768]byte

func (s summing) length(n int) summing { return binary.BigEndian.AppendUint64(s, uint64(n)) } //nolint:gosec // a length

func (s summing) bytes(b []byte) summing { return append(s.length(len(b)), b...) }

func (s summing) text(list ...string) summing {
	for _, t := range list {
		s = append(s.length(len(t)), t...)
	}
	return s
}

func (s summing) numbers(list ...uint64) summing {
	for _, n := range list {
		s = binary.BigEndian.AppendUint64(s.length(8), n) //nolint:mnd // bytes of a number
	}
	return s
}

func (s summing) end() Hash {
	sum := sha256.Sum256(s)
	return sum[:]
}

// Head names a record and its hash: what has to be noted, outside of the cluster,
// to notice later that history was changed. The zero Head is the place before the
// first record.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash Hash   `json:"hash"`
}

// String writes the head as SEQ:HASH.
func (h Head) String() string { return fmt.Sprintf("%d:%s", h.Seq, h.Hash) }

// ParseHead reads what [Head.String] writes; a head behind the first record has a hash.
func ParseHead(text string) (Head, error) {
	h, err := ParseMark(text)
	if err == nil && h.Seq == 0 != (len(h.Hash) == 0) {
		err = badHead(text)
	}
	return h, err
}

// ParseMark is ParseHead for a place whose hash may not be known.
func ParseMark(text string) (Head, error) {
	var h Head
	seq, hash, ok := strings.Cut(text, ":")
	if ok {
		if err := json.Unmarshal([]byte(seq), &h.Seq); err != nil {
			ok = false
		}
	}
	parsed, err := ParseHash(hash)
	if !ok || err != nil {
		return Head{}, badHead(text)
	}
	h.Hash = parsed
	return h, nil
}

func badHead(text string) error {
	return fmt.Errorf("%q is no head: want SEQ:HASH, such as 12:0x and %d hex digits", text, 2*sha256.Size)
}
