package node

import (
	"fmt"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// KeptCode says why members, or who leads, were left as they are. The texts are stable.
type KeptCode string

// Why members are left as they are.
const (
	// KeptUnknown: there is no such member.
	KeptUnknown KeptCode = "not-a-member"
	// KeptQuorum: those who would remain and answer are no majority.
	KeptQuorum KeptCode = "quorum-at-risk"
	// KeptTolerance: fewer voters could be lost afterwards, and that was not forced.
	KeptTolerance KeptCode = "less-tolerant"
	// KeptOut: the node can not be let in as it is.
	KeptOut KeptCode = "not-let-in"
	// KeptBehind: the member has not caught up, so it can not vote yet.
	KeptBehind KeptCode = "not-caught-up"
	// KeptLeader: no other voter takes the leadership, or not the one that was named.
	KeptLeader KeptCode = "can-not-lead"
	// KeptBusy: another change of the members was made at the same time; ask again.
	KeptBusy KeptCode = "members-busy"
)

// MembersKept is the error of a change that surely did not happen, with what to do
// instead in words for the operator who asked for it.
type MembersKept struct {
	Code   KeptCode
	Detail string
}

// Error implements error.
func (k *MembersKept) Error() string { return string(k.Code) + ": " + k.Detail }

// Kept makes a [MembersKept].
func Kept(code KeptCode, format string, args ...any) error {
	return &MembersKept{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Asker is the operator for whom something is changed.
type Asker struct {
	Caller    *fsmpb.Caller
	RequestID string
}

// Tolerance is how many more voters a cluster can lose, whichever they are, of which so
// many do not answer already: the others less a majority of all.
func Tolerance(voters, silent int) int { return max(0, voters-silent-(voters/2+1)) }
