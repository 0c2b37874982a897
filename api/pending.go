package api

import (
	"fmt"
	"strconv"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Reasons for which a request waits, besides the codes of [fsmpb.DepositStatus].
const (
	reasonOtherUID    = "other-uid"
	reasonSeedMissing = "seed-missing"
	reasonGenerating  = "generating"
	reasonDepositing  = "depositing"
)

// pending describes what the pod waits for, in counts and in words.
func pending(view *fsm.View, body allocationBody) wire.PendingAllocation {
	r := view.Request(body.Namespace, body.Pod)
	if r.GetPod().GetUid() != body.PodUID {
		return outrun(view, body, r)
	}
	return pendingOf(view, r)
}

// pendingOf describes a request of the state.
func pendingOf(view *fsm.View, r *fsmpb.Request) wire.PendingAllocation {
	pod := r.GetPod()
	p := wire.PendingAllocation{
		ClusterID: view.Meta().GetClusterId(),
		Namespace: pod.GetNamespace(), Pod: pod.GetName(), PodUID: pod.GetUid(),
		Keys: int(r.GetKeys()), Since: wallTime(r.GetSinceWallMs()),
	}
	a := view.Allocation(pod.GetNamespace(), pod.GetName())
	if a.GetPod().GetUid() == pod.GetUid() {
		p.Held = len(a.GetKeys())
	}
	deposits := make(map[fsmpb.DepositState]int)
	for _, pubkey := range r.GetReserved() {
		switch view.Key(pubkey).GetState() { //nolint:exhaustive // others are not there yet
		case fsmpb.KeyState_KEY_STATE_FREE:
			p.Ready++
		case fsmpb.KeyState_KEY_STATE_DEPOSITING:
			p.Depositing++
			deposits[view.Deposit(pubkey).GetState()]++
		}
	}
	p.Missing = max(0, p.Keys-p.Held-p.Ready-p.Depositing)
	p.Reason = reasonFor(view, r, a, p, deposits)
	return p
}

// outrun is for a request that is no longer there: it was withdrawn or taken
// over by another UID of the pod between the command and the answer.
func outrun(view *fsm.View, body allocationBody, r *fsmpb.Request) wire.PendingAllocation {
	p := wire.PendingAllocation{
		ClusterID: view.Meta().GetClusterId(),
		Namespace: body.Namespace, Pod: body.Pod, PodUID: body.PodUID,
		Keys: int(body.Keys), Missing: int(body.Keys), Since: wallTime(r.GetSinceWallMs()),
	}
	p.Reason = wire.Reason{Code: reasonGenerating, Detail: "the request was withdrawn meanwhile; repeat it"}
	if r != nil {
		p.Reason = wire.Reason{
			Code:   reasonOtherUID,
			Detail: fmt.Sprintf("UID %s of this pod asked for keys meanwhile; repeat the request if this one is the newer", r.GetPod().GetUid()),
		}
	}
	return p
}

// reasonCode is the one reason for which a request waits: the most that somebody
// can act on. It costs a few look-ups, however many keys are asked for.
func reasonCode(view *fsm.View, r *fsmpb.Request) string {
	lacks := len(r.GetReserved()) < int(r.GetWant())
	status := view.DepositStatus().GetCode()
	switch {
	case r.GetBlocked():
		return reasonOtherUID
	case lacks && view.Secret(fsm.SecretSeed) == nil:
		return reasonSeedMissing
	case status != "" && status != reasonSeedMissing: // that one was just decided by the state
		return status
	case lacks:
		return reasonGenerating
	}
	return reasonDepositing
}

func reasonFor(view *fsm.View, r *fsmpb.Request, a *fsmpb.Allocation, p wire.PendingAllocation, deposits map[fsmpb.DepositState]int) wire.Reason {
	reason := wire.Reason{Code: reasonCode(view, r)}
	switch reason.Code {
	case reasonOtherUID:
		reason.Since, reason.Detail = wallTime(a.GetSinceWallMs()), otherUID(view.Meta(), a)
	case reasonSeedMissing:
		reason.Detail = "the cluster has no seed to derive keys from: run keysteward init"
	case reasonGenerating:
		reason.Detail = plural(p.Missing, "key is", "keys are") + " being generated"
	case reasonDepositing:
		reason.Detail = fmt.Sprintf(
			"%s under way: %d to be signed, %d signed, %d sent, %d mined and not final",
			plural(p.Depositing, "deposit is", "deposits are"),
			deposits[fsmpb.DepositState_DEPOSIT_STATE_PLANNED], deposits[fsmpb.DepositState_DEPOSIT_STATE_SIGNED],
			deposits[fsmpb.DepositState_DEPOSIT_STATE_SENT], deposits[fsmpb.DepositState_DEPOSIT_STATE_MINED],
		)
	default:
		status := view.DepositStatus()
		reason.Detail, reason.Since = status.GetDetail(), wallTime(status.GetSinceWallMs())
	}
	return reason
}

func otherUID(m *fsmpb.Meta, a *fsmpb.Allocation) string {
	if a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_RESTING {
		return fmt.Sprintf("the keys of this pod's earlier UID %s rest until %s", a.GetPod().GetUid(), restsUntil(m, a))
	}
	return fmt.Sprintf("this pod's earlier UID %s still holds %s, to be released first", a.GetPod().GetUid(), plural(len(a.GetKeys()), "key", "keys"))
}

// plural is a number with the word that goes with it.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// retryAfter is longer where only a person or the chain can help.
func retryAfter(p wire.PendingAllocation) time.Duration {
	switch p.Reason.Code {
	case reasonGenerating, reasonDepositing, reasonOtherUID:
		return time.Second
	}
	return 5 * time.Second
}
