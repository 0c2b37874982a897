package ethereum

import (
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/failpoint"
)

// Moments between two steps of a deposit at which fault tests kill, pause or cut
// off the leader. In an ordinary build they are nothing.
const (
	// PointChecked: the deposits were checked and rehearsed, nothing is signed.
	PointChecked failpoint.Name = "checked"
	// PointSigned: bytes were signed, SignDeposits is not proposed.
	PointSigned failpoint.Name = "signed"
	// PointLogged: SignDeposits was applied, nothing is sent.
	PointLogged failpoint.Name = "logged"
	// PointSent: the execution client answered, KIND_SENT is not proposed.
	PointSent failpoint.Name = "sent"
	// PointSeenMined: a receipt was seen, KIND_MINED is not proposed.
	PointSeenMined failpoint.Name = "seen-mined"
	// PointLoggedMined: KIND_MINED was applied.
	PointLoggedMined failpoint.Name = "logged-mined"
	// PointFinal: a deposit was proven to be final, KIND_FINAL is not proposed.
	PointFinal failpoint.Name = "final"
	// PointReplacementSigned: bytes with higher fees were signed, ReplaceDeposit is not proposed.
	PointReplacementSigned failpoint.Name = "replacement-signed"
	// PointReplacementLogged: ReplaceDeposit was applied, nothing is sent.
	PointReplacementLogged failpoint.Name = "replacement-logged"
)

// Failpoints lists the points that every deposit comes to, in its order.
func Failpoints() []failpoint.Name {
	return []failpoint.Name{PointChecked, PointSigned, PointLogged, PointSent, PointSeenMined, PointLoggedMined, PointFinal}
}

// ReplacementFailpoints lists those that a deposit comes to when it stays unmined.
func ReplacementFailpoints() []failpoint.Name {
	return []failpoint.Name{PointReplacementSigned, PointReplacementLogged}
}

// reachSent is the point between what was sent and its observation.
func reachSent(found []*fsmpb.Observation) {
	if failpoint.Enabled && len(found) > 0 {
		failpoint.Reach(PointSent)
	}
}

// reachObserving are the points before observations are proposed.
func reachObserving(found []*fsmpb.Observation) {
	if !failpoint.Enabled {
		return
	}
	if anyOf(found, fsmpb.Observation_KIND_MINED) {
		failpoint.Reach(PointSeenMined)
	}
	if anyOf(found, fsmpb.Observation_KIND_FINAL) {
		failpoint.Reach(PointFinal)
	}
}

// reachObserved is the point after observations were applied.
func reachObserved(found []*fsmpb.Observation) {
	if failpoint.Enabled && anyOf(found, fsmpb.Observation_KIND_MINED) {
		failpoint.Reach(PointLoggedMined)
	}
}

func anyOf(found []*fsmpb.Observation, kind fsmpb.Observation_Kind) bool {
	for _, o := range found {
		if o.GetKind() == kind {
			return true
		}
	}
	return false
}
