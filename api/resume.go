package api

import (
	"net/http"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// resumeDeposits is an operator's word that deposits may go on although something
// else used the funding account. Where nothing is stopped it changes nothing.
func (s *Server) resumeDeposits(c *call) (answer, error) {
	cmd := c.command()
	cmd.Body = &fsmpb.Command_ResumeDeposits{ResumeDeposits: &fsmpb.ResumeDeposits{}}
	if _, err := s.propose(c.ctx(), cmd); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}
