package pods

import (
	"fmt"
	"strings"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// changes posts Events about what became of keys, whoever brought it about: what differs
// from the look before. What was so when the session began has been told by the leader
// before; a change in between may be told by nobody.
type changes struct {
	w     *Watcher
	look  int
	holds map[podName]*mark
	waits map[podName]*mark // new pods behind a holder
	held  map[string]bool   // UIDs of pods of which it was told that their machine is silent
}

// mark is what an allocation or request was when it was last seen.
type mark struct {
	look  int
	uid   string
	keys  int
	fence uint64
	state fsmpb.AllocationState
	code  string
	proof fsmpb.Proof_Kind
}

func newChanges(w *Watcher) *changes {
	return &changes{w: w, holds: make(map[podName]*mark), waits: make(map[podName]*mark), held: make(map[string]bool)}
}

func (c *changes) begin() { c.look++ }

// see holds an allocation against what it was.
func (c *changes) see(view *fsm.View, a *fsmpb.Allocation) {
	pod := a.GetPod()
	name := podName{pod.GetNamespace(), pod.GetName()}
	is := &mark{
		look: c.look, uid: pod.GetUid(), keys: len(a.GetKeys()), fence: a.GetFence(), state: a.GetState(), code: a.GetCode(), proof: a.GetProof().GetKind(),
	}
	was := c.holds[name]
	c.holds[name] = is
	if was != nil && was.uid != is.uid {
		c.free(name, was)
	}
	if is.state == fsmpb.AllocationState_ALLOCATION_STATE_RESTING {
		c.wait(view, name, is, a)
	}
	if c.look == 1 || is.state != fsmpb.AllocationState_ALLOCATION_STATE_RESTING ||
		was != nil && was.uid == is.uid && was.state == is.state && was.code == is.code && was.proof == is.proof {
		return
	}
	switch {
	case is.proof == fsmpb.Proof_KIND_LEASE_EXPIRED:
		c.post(name, is.uid, true, EventLeaseRanOut, "the lease of its %d keys was not renewed and ran out: they go to another pod%s. If it is renewed before, the pod goes on by itself. If not, it never signs again until it is deleted: %s",
			is.keys, c.in(view, a), deletion(name))
	case is.proof != fsmpb.Proof_KIND_UNSPECIFIED:
		c.post(name, is.uid, false, EventKeysProven, "it can no longer sign with its %d keys (%s, by %s): they are free%s", is.keys, a.GetProof().GetDetail(), a.GetProof().GetBy(), c.in(view, a))
	default:
		c.post(name, is.uid, true, EventKeysRest, "its %d keys rest (%s): %s. What ends it: %s.%s", is.keys, code(a), a.GetDetail(), ends(a), back(name, a))
	}
}

func code(a *fsmpb.Allocation) string {
	if a.GetCode() == "" {
		return testimony.CodeReleased
	}
	return a.GetCode()
}

// holder is whose keys an allocation has. When the lease ends is not said: the same words
// are posted once.
func holder(a *fsmpb.Allocation) testimony.Holder {
	p := a.GetPod()
	h := testimony.Holder{Namespace: p.GetNamespace(), Name: p.GetName(), UID: p.GetUid(), Node: a.GetNode(), NodeUID: a.GetNodeUid()}
	if a.GetLeaseUntilMs() > 0 {
		h.Lease = "if it is not renewed"
	}
	return h
}

// ends says what would end a rest.
func ends(a *fsmpb.Allocation) string {
	return strings.Join(testimony.Endings(code(a), holder(a)), "; or ")
}

// back says what brings the pod itself back, which may be there although its keys rest.
func back(name podName, a *fsmpb.Allocation) string {
	switch code(a) {
	case testimony.CodeReleased, testimony.CodeContainerUnknown, testimony.CodeOtherKubernetes:
		return " This pod never signs again with a lease, until it is deleted: " + deletion(name)
	}
	return ""
}

func deletion(name podName) string {
	return "kubectl delete pod -n " + name.namespace + " " + name.name
}

// in says when keys that rest with proof are free.
func (c *changes) in(view *fsm.View, a *fsmpb.Allocation) string {
	left := time.Duration(a.GetFreeAtMs()-min(a.GetFreeAtMs(), view.Meta().GetClusterTimeMs())) * time.Millisecond //nolint:gosec // bounded by the state
	if left <= 0 {
		return " at once"
	}
	return fmt.Sprintf(" in %v of cluster time, or at once for its successor if that imports --slashing-protection", left.Round(time.Second))
}

// wait tells the next pod of the name why it waits.
func (c *changes) wait(view *fsm.View, name podName, is *mark, a *fsmpb.Allocation) {
	r := view.Request(name.namespace, name.name)
	if !r.GetBlocked() || r.GetPod().GetUid() == is.uid {
		return
	}
	now := *is
	now.uid = r.GetPod().GetUid()
	was := c.waits[name]
	c.waits[name] = &now
	if was != nil && was.uid == now.uid && was.code == now.code && was.proof == now.proof {
		return
	}
	if now.proof != fsmpb.Proof_KIND_UNSPECIFIED {
		c.post(name, now.uid, false, EventKeysWaiting, "it waits for %d keys of its predecessor (UID %s), which can no longer sign: they are free%s", now.keys, is.uid, c.in(view, a))
		return
	}
	c.post(name, now.uid, true, EventKeysWaiting, "it waits for %d keys that rest from its predecessor (UID %s; %s): %s. What ends it: %s",
		now.keys, is.uid, code(a), a.GetDetail(), ends(a))
}

// judge tells of a pod that can not end because its machine says nothing.
func (c *changes) judge(a *fsmpb.Allocation, v testimony.Verdict) {
	uid := a.GetPod().GetUid()
	if v.Kind != testimony.Ending || v.Code == "" {
		delete(c.held, uid)
		return
	}
	if !c.held[uid] {
		c.held[uid] = true
		c.post(podName{a.GetPod().GetNamespace(), a.GetPod().GetName()}, uid, true, EventKeysHeld,
			"it keeps its %d keys (%s): %s. What ends it: %s", len(a.GetKeys()), v.Code, v.Detail, strings.Join(testimony.Endings(v.Code, holder(a)), "; or "))
	}
}

// end finds what is held no more.
func (c *changes) end(view *fsm.View) {
	for name, was := range c.holds {
		if was.look != c.look {
			c.free(name, was)
			delete(c.holds, name)
			delete(c.held, was.uid)
		}
	}
	for name := range c.waits {
		if !view.Request(name.namespace, name.name).GetBlocked() {
			delete(c.waits, name)
		}
	}
}

func (c *changes) free(name podName, was *mark) {
	c.post(name, was.uid, false, EventKeysFree, "its %d keys are no longer its own: they are in the pool, its successor's or retired", was.keys)
}

func (c *changes) post(name podName, uid string, warning bool, reason, format string, args ...any) {
	c.w.Post(name.namespace, name.name, uid, warning, reason, fmt.Sprintf(format, args...))
}
