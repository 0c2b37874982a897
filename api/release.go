package api

import (
	"net/http"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// release takes a pod's keys back. What counts as proof that the holder can no
// longer sign is decided here and nowhere else in this package.
func (s *Server) release(c *call) (answer, error) {
	body, confirmed, err := c.releaseBody()
	if err != nil {
		return answer{}, err
	}
	body.Proof = s.proof(c.caller, confirmed)
	body.Code, body.Detail = released, "by "+c.caller.Name
	body.WaitMs = uint64(s.cfg.RestAfterProof.Milliseconds()) //nolint:gosec // not negative
	cmd := c.command()
	cmd.Body = &fsmpb.Command_Release{Release: body}
	if _, err := s.propose(c.ctx(), cmd); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// releaseBody reads what is to be released. Who testifies that a pod is stopped
// has to say which: repeated with a fence that was looked up anew, the word
// would else count for the next pod of that name.
func (c *call) releaseBody() (body *fsmpb.Release, confirmed bool, err error) {
	body = &fsmpb.Release{}
	body.Namespace, body.Pod, body.PodUid = c.object.namespace, c.object.pod, c.object.uid
	confirmed = c.object.word
	if body.Fence, err = c.fence(); err != nil {
		return nil, false, err
	}
	if confirmed && body.GetPodUid() == "" {
		return nil, false, badField("podUid", "required with confirmStopped=true: the UID of the pod that is stopped")
	}
	return body, confirmed, nil
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
