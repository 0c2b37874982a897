package api

import (
	"errors"
	"strconv"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// renewLease lets a pod go on signing for a while.
func (s *Server) renewLease(c *call) (answer, error) {
	if s.cfg.LeaseDuration == 0 {
		return answer{}, newProblem(leasesOff, "leases are off: the servers run without --lease-duration")
	}
	if c.object.uid == "" {
		return answer{}, badField("podUid", "required: the UID of the pod")
	}
	pod := &fsmpb.Pod{Namespace: c.object.namespace, Name: c.object.pod, Uid: c.object.uid}
	renewal := &fsmpb.RenewLease{
		Pod:        pod,
		DurationMs: uint64(s.cfg.LeaseDuration.Milliseconds()),  //nolint:gosec // not negative
		WaitMs:     uint64(s.cfg.RestAfterProof.Milliseconds()), //nolint:gosec // not negative
	}
	if text := c.query.Get("fence"); text != "" {
		fence, err := strconv.ParseUint(text, 10, 63)
		if err != nil || fence == 0 {
			return answer{}, badField("fence", "%s is no fence", told(text))
		}
		renewal.Fence = fence
	}
	begin, err := c.flag("begin")
	if err != nil {
		return answer{}, err
	}
	// A leader that is none any more would at worst send the caller here once more.
	a := s.node.View().Allocation(pod.GetNamespace(), pod.GetName())
	if !begin && a.GetPod().GetUid() == pod.GetUid() && a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_HELD && a.GetLeaseUntilMs() == 0 {
		return ok(s.leaseOf(pod)), nil
	}
	cmd := c.command()
	cmd.Body = &fsmpb.Command_RenewLease{RenewLease: renewal}
	if _, err := s.propose(c.ctx(), cmd); err != nil {
		return answer{}, notHeld(err)
	}
	return ok(s.leaseOf(pod)), nil
}

func (s *Server) leaseOf(pod *fsmpb.Pod) wire.Lease {
	view := s.node.View()
	a := view.Allocation(pod.GetNamespace(), pod.GetName())
	return wire.Lease{ClusterID: view.Meta().GetClusterId(), DurationMs: s.cfg.LeaseDuration.Milliseconds(), Fence: signed(a.GetFence()), Begun: a.GetLeaseUntilMs() > 0}
}

// notHeld gives the one answer that ends what signs a type that no other has: a path
// that is not known is not-found too.
func notHeld(err error) error {
	for _, code := range []fsm.Code{fsm.NotFound, fsm.StaleFence} {
		if errors.Is(err, fsm.Refused(code)) {
			return newProblem(notTheHolder, "%v", err)
		}
	}
	return err
}
