package schedule

import (
	"errors"
	"slices"
	"strings"

	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/backup"
)

// Why a backup failed, as far as that is known.
var (
	// ErrMissing says that the folder or bucket is not there.
	ErrMissing = errors.New("the place for backups is not there")
	// ErrDenied says that the place does not let this node in.
	ErrDenied = errors.New("the place for backups refuses this node")
	// ErrFull says that the place has no room.
	ErrFull = errors.New("the place for backups has no room")
	// ErrAway says that the place can not be reached now.
	ErrAway = errors.New("the place for backups can not be reached")
	// ErrUntrusted says that nobody whom this node trusts vouches for who answers there.
	ErrUntrusted = errors.New("the server of the place for backups is not vouched for by --backup-s3-ca-file, or the system's authorities")
	// ErrUnlike says that what was read back is not what was written.
	ErrUnlike = errors.New("what was read back is not what was written")
)

// Reasons of failures, as metric and status name them.
const (
	ReasonMissing   = "missing"
	ReasonDenied    = "denied"
	ReasonFull      = "no-space"
	ReasonAway      = "unreachable"
	ReasonUntrusted = "untrusted"
	ReasonUnlike    = "not-as-written"
	ReasonSealed    = "sealed"
	ReasonOther     = "other"
)

// reasons are all there are, so that the metric has each from the start.
var reasons = []string{ReasonMissing, ReasonDenied, ReasonFull, ReasonAway, ReasonUntrusted, ReasonUnlike, ReasonSealed, ReasonOther}

// reasonOf is the code of a failure.
func reasonOf(err error) string {
	for _, r := range []struct {
		err  error
		code string
	}{
		{ErrMissing, ReasonMissing},
		{ErrDenied, ReasonDenied},
		{ErrFull, ReasonFull},
		{ErrAway, ReasonAway},
		{ErrUntrusted, ReasonUntrusted},
		{ErrUnlike, ReasonUnlike},
		{backup.ErrDamaged, ReasonUnlike},
		{backup.ErrTruncated, ReasonUnlike},
		{backup.ErrNotABackup, ReasonUnlike},
		{node.ErrSealed, ReasonSealed},
	} {
		if errors.Is(err, r.err) {
			return r.code
		}
	}
	return ReasonOther
}

func sortNewestFirst(list []Entry) {
	slices.SortFunc(list, func(a, b Entry) int {
		if d := b.MadeAt.Compare(a.MadeAt); d != 0 {
			return d
		}
		return strings.Compare(b.Name, a.Name)
	})
}
