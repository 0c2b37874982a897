package fsm

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// MaxTickMS is the longest time, in milliseconds of cluster time, that one
// [fsmpb.Tick] may add; more is cut off, so a leader whose clock leapt can not
// end a rest or a lease early by more than this.
const MaxTickMS = 60_000

// beginSession opens the session that is named by the entry's log term. Its
// value is the number of the session.
func (w *write) beginSession(b *fsmpb.BeginSession) Result {
	w.meta.Session = w.term
	w.meta.SessionNode = b.GetNodeId()
	if w.meta.GetClusterId() == "" {
		w.meta.ClusterId = b.GetNewClusterId()
	}
	w.dropStaged() // whoever brought it talked to another leader
	w.note("session.begin", b.GetNodeId(), "session %d of cluster %s", w.term, w.meta.GetClusterId())
	return Result{Value: w.term}
}

// tick moves cluster time on and ends the leases and rests whose time has come.
func (w *write) tick(t *fsmpb.Tick) Result {
	w.meta.ClusterTimeMs += min(t.GetElapsedMs(), MaxTickMS)
	w.endLeases()
	for {
		a := lowest[*fsmpb.Allocation](w.txn, tableAllocations, indexFreeAt)
		if a == nil || a.GetFreeAtMs() > w.meta.GetClusterTimeMs() {
			break
		}
		w.endRest(a)
	}
	w.endLoneRests()
	return Result{}
}

func (w *write) setMember(m *fsmpb.Member) Result {
	if m.GetNodeId() == "" || m.GetRaftAddress() == "" {
		return Result{Refusal: refuse(Invalid, "a member needs a node ID and a Raft address")}
	}
	old := first[*fsmpb.Member](w.txn, tableMembers, []byte(m.GetNodeId()))
	if proto.Equal(old, m) {
		return Result{}
	}
	mustInsert(w.txn, tableMembers, m)
	w.record("member.set", m.GetNodeId(), strings.TrimSpace(m.GetApiUrl()+" "+m.GetTerms()))
	return Result{}
}

func (w *write) removeMember(id string) Result {
	m := first[*fsmpb.Member](w.txn, tableMembers, []byte(id))
	if m == nil {
		return Result{}
	}
	mustDelete(w.txn, tableMembers, m)
	w.record("member.remove", id, "")
	return Result{}
}
