package api

import (
	"net/http"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// act is the handler of an action on a logical cloud. What it leads to in the clusters
// is for the leader's duty to do.
func act(action fsmpb.ActOnCloud_Action) func(*Server, *call) (answer, error) {
	return func(s *Server, c *call) (answer, error) {
		names, err := c.names(ofCloud...)
		if err != nil {
			return answer{}, err
		}
		cmd := c.command()
		cmd.Body = &fsmpb.Command_ActOnCloud{ActOnCloud: &fsmpb.ActOnCloud{
			Project: names[0], Cloud: names[1], Action: action, Key: s.cfg.Clouds.NextKey(names[0], names[1], action),
		}}
		if _, err := s.propose(c.ctx(), cmd); err != nil {
			return answer{}, err
		}
		status, err := cloudStatus(s.node.View(), names[0], names[1])
		return answer{status: http.StatusAccepted, body: status}, err
	}
}
