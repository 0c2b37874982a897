// Package auditverify recomputes the chain of a cluster's audit records, as its
// API gives them and as files of JSON lines have them, and compares both with
// each other and with heads that were noted earlier.
//
// A chain alone shows that nothing in it was changed by somebody who could not
// write all of it anew. Only a head that was noted, or a file that was shipped,
// outside of the cluster shows that it was not. Nor does a chain show that its end
// was cut off: for that files are held against the cluster's newest record.
package auditverify

import (
	"errors"

	"github.com/keysteward/keysteward/fsm/audit"
)

// ErrDifferent is wrapped by errors which say that files, cluster and noted heads
// do not agree. A chain that is broken in itself is an [audit.BrokenError].
var ErrDifferent = errors.New("the audit log is not what it was")

// Report is what was verified.
type Report struct {
	// Records of the cluster that were verified; -1 if no cluster was asked.
	Records int `json:"records"`
	// Anchor is the place before the oldest record of the cluster.
	Anchor audit.Head `json:"anchor"`
	// Head is the newest record, of the cluster or else of the files. Note it.
	Head audit.Head `json:"head"`
	// FileRecords is how many records the files have, all files together.
	FileRecords int `json:"fileRecords"`
	// FileFirst and FileLast are the first and the last one of them; 0 if there are none.
	FileFirst uint64 `json:"fileFirst"`
	FileLast  uint64 `json:"fileLast"`
	// Gaps of the files: between records, and before the first one.
	Gaps []audit.Gap `json:"gaps"`
	// Notes say in words what could not be verified.
	Notes []string `json:"notes"`
}
