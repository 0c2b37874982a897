package api

import (
	"context"
	"net/http"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node"
)

// membersTimeout bounds a change of the members: whoever is concerned is asked.
const membersTimeout = 20 * time.Second

func (s *Server) addMember(c *call, body wire.MemberAddress) (answer, error) {
	if body.Raft == "" {
		return answer{}, badField("raft", "is required")
	}
	return s.changeMembers(c, func(ctx context.Context, by node.Asker) (answer, error) {
		m, err := s.cfg.Members.Join(ctx, by, body.Raft)
		return ok(wire.Member{ID: m.ID, Raft: m.Address, Voter: m.Voter}), err
	})
}

func (s *Server) removeMember(c *call) (answer, error) {
	force, err := c.flag("force")
	if err != nil {
		return answer{}, err
	}
	return s.changeMembers(c, func(ctx context.Context, by node.Asker) (answer, error) {
		return answer{status: http.StatusNoContent}, s.cfg.Members.Remove(ctx, by, c.echo.Param("id"), force)
	})
}

func (s *Server) promoteMember(c *call) (answer, error) {
	return s.changeMembers(c, func(ctx context.Context, by node.Asker) (answer, error) {
		return answer{status: http.StatusNoContent}, s.cfg.Members.Promote(ctx, by, c.echo.Param("id"))
	})
}

func (s *Server) transfer(c *call, body wire.Transfer) (answer, error) {
	return s.changeMembers(c, func(ctx context.Context, by node.Asker) (answer, error) {
		leader, err := s.cfg.Members.Transfer(ctx, by, body.To)
		return ok(wire.Transferred{Leader: leader}), err
	})
}

// changeMembers makes a change in the caller's name, and logs who asked for what, also
// where nothing came of it: the audit has what was begun.
func (s *Server) changeMembers(c *call, change func(context.Context, node.Asker) (answer, error)) (answer, error) {
	if s.cfg.Members == nil {
		return answer{}, newProblem(notLetIn, "this server can not change its members")
	}
	// It goes on when the caller does not wait for it: half of a change is of no use.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx()), membersTimeout)
	defer cancel()
	cmd := c.command()
	a, err := change(ctx, node.Asker{Caller: cmd.GetCaller(), RequestID: cmd.GetRequestId()})
	log := s.log.With("caller", c.caller.Name, "remote", c.caller.Remote, "method", routeOf(c.echo).method,
		"path", c.echo.Request().URL.Path, "request_id", requestID(c.echo))
	if err != nil {
		log.Warn("members were not changed as was asked", "reason", err)
		return answer{}, err
	}
	log.Info("members were changed")
	return a, nil
}

// keptProblem says why members were left as they are.
func keptProblem(k *node.MembersKept) *problem {
	known := map[node.KeptCode]kind{
		node.KeptUnknown: notFound, node.KeptQuorum: quorumAtRisk, node.KeptTolerance: lessTolerant,
		node.KeptOut: notLetIn, node.KeptBehind: notCaughtUp, node.KeptLeader: canNotLead, node.KeptBusy: membersBusy,
	}
	return newProblem(known[k.Code], "%s", k.Detail)
}
