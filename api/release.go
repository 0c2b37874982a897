package api

import (
	"net/http"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// release takes a pod's keys back. What counts as proof that the holder can no
// longer sign is decided here and nowhere else in this package.
func (s *Server) release(c *call) (answer, error) {
	namespace, pod, err := c.pod()
	if err != nil {
		return answer{}, err
	}
	fence, err := c.fence()
	if err != nil {
		return answer{}, err
	}
	confirmed, err := c.confirmStopped()
	if err != nil {
		return answer{}, err
	}
	cmd := c.command()
	cmd.Body = &fsmpb.Command_Release{Release: &fsmpb.Release{
		Namespace: namespace, Pod: pod, Fence: fence,
		Proof:  s.proof(c.caller, confirmed),
		WaitMs: uint64(s.cfg.RestAfterProof.Milliseconds()), //nolint:gosec // not negative
	}}
	if _, err := s.propose(c.ctx(), cmd); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// proof is nil unless somebody testifies.
func (s *Server) proof(by Caller, confirmed bool) *fsmpb.Proof {
	switch {
	case confirmed:
		return &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: by.Name}
	case s.cfg.Witness == WitnessNone:
		return &fsmpb.Proof{Kind: fsmpb.Proof_KIND_CALLER, By: by.Name}
	}
	return nil
}
