package api

import (
	"strings"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// maxReason bounds the words of an operator, in bytes.
const maxReason = 256

// retireKey takes a key out of use by the word of an operator. Whether the key is
// in use is decided by the state machine: nobody can begin to hold it meanwhile.
func (s *Server) retireKey(c *call, body wire.Retirement) (answer, error) {
	pubkey, err := c.pubkey()
	if err != nil {
		return answer{}, err
	}
	if strings.TrimSpace(body.Reason) == "" || len(body.Reason) > maxReason {
		return answer{}, badField("reason", "want 1 to %d bytes that say why", maxReason)
	}
	cmd := c.command()
	cmd.Body = &fsmpb.Command_RetireKeys{RetireKeys: &fsmpb.RetireKeys{
		Pubkeys: [][]byte{pubkey}, Reason: fsm.RetiredOperator, Detail: body.Reason, Force: body.Force,
	}}
	if _, err := s.propose(c.ctx(), cmd); err != nil {
		return answer{}, err
	}
	return ok(keyOf(s.node.View().Key(pubkey))), nil
}
