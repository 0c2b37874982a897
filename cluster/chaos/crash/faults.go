package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/await"
)

const (
	// hitTime is how long a deposit may take to come to a point: some blocks.
	hitTime = 60 * time.Second
	// electionTime is how long the others may take to elect one of them; a node that is
	// held for 20 s while it has lost its office takes that for a failure of its own.
	electionTime = 15 * time.Second
	killTime     = 10 * time.Second
)

var (
	errNotHit   = errors.New("no leader came to the failpoint")
	errStranger = errors.New("a process was caught that is no member")
	errNoLeader = errors.New("none of the others took the lead")
)

// catch waits until a member is held at the trial's point and returns it.
func (s *stage) catch(ctx context.Context, t trial) (member int, err error) {
	pid := 0
	err = await.Until(ctx, hitTime, errNotHit, func() (bool, error) {
		pid, err = s.points.Caught(t.point)
		return pid != 0, err
	})
	if err != nil {
		return 0, err
	}
	for i := range members {
		if s.nodes.PID(i) == pid {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%w: %d", errStranger, pid)
}

// strike does to the member that is held what the trial says, up to the moment from
// which it only remains to be healed.
func (s *stage) strike(ctx context.Context, t trial, member int) error {
	switch t.fault {
	case faultKill:
		s.kills++
		if err := s.nodes.Signal(member, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill: %w", err)
		}
		ctx, cancel := context.WithTimeout(ctx, killTime)
		defer cancel()
		if err := s.nodes.AwaitEnd(ctx, member); err != nil {
			return fmt.Errorf("kill: %w", err)
		}
	case faultPause:
		if err := s.nodes.Signal(member, syscall.SIGSTOP); err != nil {
			return fmt.Errorf("pause: %w", err)
		}
	case faultCut:
		s.wires.Cut(member)
		if t.goOn == atOnce {
			return s.points.Release(t.point) //nolint:wrapcheck // says what it is
		}
	}
	return nil
}

// heal ends the fault.
func (s *stage) heal(ctx context.Context, t trial, member int) (err error) {
	switch t.fault {
	case faultKill:
		err = s.nodes.Restart(ctx)
	case faultPause:
		err = s.nodes.Signal(member, syscall.SIGCONT)
	case faultCut:
		s.wires.Connect(member)
	}
	if err != nil {
		return fmt.Errorf("end of %s: %w", t.fault, err)
	}
	return nil
}

// awaitOther returns when another member leads.
func (s *stage) awaitOther(ctx context.Context, than int) error {
	return await.Until(ctx, electionTime, errNoLeader, func() (bool, error) {
		for i, api := range s.nodes.APIs() {
			if i != than && s.leads(ctx, i, api) {
				return true, nil
			}
		}
		return false, nil
	})
}

// leads reports whether a member says of itself that it leads.
func (s *stage) leads(ctx context.Context, i int, api string) bool {
	var c wire.Cluster
	if s.asker.Ask(ctx, api, "/v1/cluster", nil, &c) != nil {
		return false
	}
	for _, n := range c.Nodes {
		if n.ID == c.Leader && n.Raft == s.nodes.RaftAddress(i) {
			return true
		}
	}
	return false
}
