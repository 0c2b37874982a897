package api

import (
	"net/http"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// resumeDeposits is an operator's word that deposits may go on although something
// else used the funding account, as far as he saw. Where nothing is stopped it
// changes nothing.
func (s *Server) resumeDeposits(c *call, body wire.SeenStop) (answer, error) {
	address, err := validator.ParseAddress(body.Account)
	if err != nil {
		return answer{}, badField("account", "%v", err)
	}
	if body.ChainID < 1 || body.Nonce < 0 {
		return answer{}, badField("nonce", "want a chain ID from 1 and a nonce from 0, got %d and %d", body.ChainID, body.Nonce)
	}
	cmd := c.command()
	cmd.Body = &fsmpb.Command_ResumeDeposits{ResumeDeposits: &fsmpb.ResumeDeposits{
		ChainId: uint64(body.ChainID), Account: address[:], Nonce: uint64(body.Nonce),
	}}
	if _, err := s.propose(c.ctx(), cmd); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}
