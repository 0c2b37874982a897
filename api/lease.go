package api

import (
	"strconv"

	"github.com/keysteward/keysteward/api/wire"
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
	cmd := c.command()
	cmd.Body = &fsmpb.Command_RenewLease{RenewLease: renewal}
	if _, err := s.propose(c.ctx(), cmd); err != nil {
		return answer{}, err
	}
	a := s.node.View().Allocation(pod.GetNamespace(), pod.GetName())
	return ok(wire.Lease{DurationMs: s.cfg.LeaseDuration.Milliseconds(), Fence: signed(a.GetFence())}), nil
}
