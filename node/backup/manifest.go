package backup

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Format is the version of the file that [NewWriter] writes and [NewReader] reads.
const Format = 1

// MediaType of a backup over HTTP.
const MediaType = "application/vnd.keysteward.backup"

// Suffix of the names of files.
const Suffix = ".ksbackup"

// Manifest says what is in a backup. It is the first thing in the file.
type Manifest struct {
	// FileID is random: 32 hex digits, another one for each file.
	FileID string `json:"fileId"`
	// ClusterID is the cluster whose state this is.
	ClusterID string `json:"clusterId"`
	// History tells clusters of one ID apart, of which one was restored from a backup of
	// the other; see [HistoryOf]. Empty in a cluster that was never restored.
	History string `json:"history,omitempty"`
	// MadeAt is when the state was read, by the clock of the node that did.
	MadeAt time.Time `json:"madeAt"`
	// Node that made it, and the version of its program.
	Node    string `json:"node"`
	Program string `json:"program"`
	// Index and Term of the last log entry that is in the state.
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	// SnapshotFormat is the version of the stream, FeatureLevel that of the state.
	SnapshotFormat int    `json:"snapshotFormat"`
	FeatureLevel   uint32 `json:"featureLevel"`
	// ClusterTimeMs is the cluster time in milliseconds.
	ClusterTimeMs uint64 `json:"clusterTimeMs"`
	// AuditSeq is the number of the newest audit record.
	AuditSeq uint64 `json:"auditSeq"`
	// Counts of what is in the state, for people.
	Counts Counts `json:"counts"`
	// Keyring is the record whose root key the file's key is derived from: wrapped by
	// key-encryption keys, so it is no secret.
	Keyring []byte `json:"keyring"`
}

// Counts are how much of each there is.
type Counts struct {
	Keys        int64 `json:"keys"`
	Held        int64 `json:"held"`
	Allocations int64 `json:"allocations"`
	Deposits    int64 `json:"deposits"`
	Tokens      int64 `json:"tokens"`
	Clouds      int64 `json:"clouds"`
}

// Trailer is the last thing in the file.
type Trailer struct {
	// Bytes of the stream, and its SHA-256.
	Bytes  int64  `json:"bytes"`
	SHA256 []byte `json:"sha256"`
	// ManifestSHA256 is that of the manifest as it stands in the file.
	ManifestSHA256 []byte `json:"manifestSha256"`
}

const fileIDBytes = 16

// NewFileID draws the ID of a file.
func NewFileID() string {
	id := make([]byte, fileIDBytes)
	_, _ = rand.Read(id) // never fails
	return hex.EncodeToString(id)
}

// Name is a file name that tells when the backup was made, and sorts by it: among
// those of one cluster, the last name is the newest backup.
func (m *Manifest) Name() string {
	return fmt.Sprintf("keysteward-%s-%s-%d%s", Lineage(m.ClusterID, m.History), m.MadeAt.UTC().Format(nameTime), m.Index, Suffix)
}

// HistoryOf names the history that begins with a restore, by the restore's random name:
// 8 hex digits, none if there was no restore.
func HistoryOf(restoreID string) string {
	if restoreID == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(restoreID))
	return hex.EncodeToString(sum[:4])
}

// Lineage is what the backups of one cluster have in common in their names, and those of
// a rehearsal of it, or of the time before a restore, have not.
func Lineage(clusterID, history string) string {
	if history == "" {
		return clusterID
	}
	return clusterID + "." + history
}

const nameTime = "20060102T150405Z"

// ParseName tells of which [Lineage], and of what time, the backup with a
// [Manifest.Name] is; false if the name is none.
func ParseName(name string) (lineage string, madeAt time.Time, ok bool) {
	rest, ends := strings.CutSuffix(name, Suffix)
	rest, begins := strings.CutPrefix(rest, "keysteward-")
	rest, index, has := cutLast(rest)
	lineage, stamp, also := cutLast(rest)
	madeAt, err := time.Parse(nameTime, stamp)
	digits := strings.Trim(index, "0123456789") == ""
	ok = ends && begins && has && also && lineage != "" && index != "" && digits && err == nil
	return lineage, madeAt, ok
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '-')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

var (
	errFileID  = errors.New("the ID of the file is not 32 hex digits")
	errMissing = errors.New("it names no cluster, or has no keyring")
)

// check finds a manifest that nothing can be done with.
func (m *Manifest) check() error {
	if id, err := hex.DecodeString(m.FileID); err != nil || len(id) != fileIDBytes {
		return errFileID
	}
	if m.ClusterID == "" || len(m.Keyring) == 0 {
		return errMissing
	}
	return nil
}

// decodeManifest takes unknown fields: they are newer, and say nothing that a reader
// of this format has to know.
func decodeManifest(b []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%w: its manifest: %w", ErrDamaged, err)
	}
	if err := m.check(); err != nil {
		return m, fmt.Errorf("%w: its manifest: %w", ErrDamaged, err)
	}
	return m, nil
}
