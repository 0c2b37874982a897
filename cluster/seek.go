package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
)

const (
	seekInterval = 500 * time.Millisecond
	// aloneFor is how long a member may be without a leader before it asks why.
	aloneFor = 2 * time.Second
)

// seeker finds this node's place in a cluster, and says what it waits for.
type seeker struct {
	*peers
	alone time.Time // since when this member knows no leader; zero if it does
	// outcast is true if it was told that it is no member of the cluster that is there.
	outcast bool
	// further are the nodes of the founders' kind, as they were when asked last.
	further   []sighting
	furtherAt time.Time
}

// seek founds the cluster if that is this node's part, has the node let into one that
// is there, and finds out why there is no leader, for as long as the context lasts.
func seek(ctx context.Context, p *peers) error {
	s := &seeker{peers: p}
	for {
		reason, err := s.look(ctx)
		if err != nil {
			return err
		}
		if ctx.Err() == nil && p.report.set(reason) && reason != "" {
			p.log.Info("not part of a cluster that works", "reason", reason)
		}
		wait := seekInterval
		if !p.node.HasState() {
			wait = foundInterval
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// look does what is next and returns what is waited for, empty if it is nothing.
func (s *seeker) look(ctx context.Context) (waiting string, err error) {
	config, err := s.node.Configuration()
	if err != nil {
		return "", nil //nolint:nilerr // the node is closing
	}
	self, member := config.Find(s.node.ID())
	led := s.node.Status().ElectedID != ""
	switch {
	case member && self.Voter:
		if err := s.node.Joined(); err != nil {
			return "", err //nolint:wrapcheck // says what it is
		}
		return s.whyAlone(ctx, config, led), nil
	case member && led:
		return "the cluster has let this node in; it votes once it has caught up", nil
	case !s.node.HasState() && s.isFounder():
		return s.found(ctx)
	case !s.node.HasState():
		s.lookFurther(ctx, s.wanted(ctx))
	}
	return s.ask(ctx, config)
}

// whyAlone says why a member has no leader, if that lasts.
func (s *seeker) whyAlone(ctx context.Context, config node.Configuration, led bool) string {
	if led {
		s.alone = time.Time{}
		return ""
	}
	if s.alone.IsZero() {
		s.alone = time.Now()
	}
	if time.Since(s.alone) < aloneFor {
		return s.report.get() // whatever was found out before
	}
	if reason, err := s.ask(ctx, config); err == nil && s.outcast {
		return reason
	}
	return s.missing(ctx, config)
}

// missing says who of the members does not take part.
func (s *seeker) missing(ctx context.Context, config node.Configuration) string {
	var list []string
	lost, silent := 0, 0
	for _, m := range config.Members {
		if m.ID == s.node.ID() {
			continue
		}
		id, err := s.identity(ctx, m.Address)
		switch {
		case err != nil:
			list = append(list, fmt.Sprintf("%s at %s %s", m.ID, m.Address, silence(err)))
			silent++
		case id.ID != m.ID:
			list = append(list, fmt.Sprintf("%s has lost its disk, and %s is at %s", m.ID, id.ID, m.Address))
			lost++
		default:
			continue
		}
	}
	if len(list) == 0 {
		return ""
	}
	voters := config.Voters()
	reason := "no leader: " + strings.Join(list, "; ")
	if lost > voters-(voters/2+1) {
		reason += fmt.Sprintf("; %d of %d voters are gone, so nobody can decide any more who is a member: bring their disks back, or, if they are lost for good, see keysteward cluster recover --help", lost, voters)
	}
	return reason
}

// ask asks all that may know for a place in their cluster.
func (s *seeker) ask(ctx context.Context, config node.Configuration) (waiting string, err error) {
	s.outcast = false
	q := joinRequest{
		ID: s.node.ID(), Name: s.node.Name(), Raft: s.address, HasState: s.node.HasState(), Joining: s.node.Joining(),
		ClusterID: s.node.ClusterID(), FeatureLevel: fsm.FeatureLevel,
	}
	var heard []string
	asked := map[string]bool{s.address: true}
	for todo := s.whom(config); len(todo) > 0; todo = todo[1:] {
		address := todo[0]
		if asked[address] {
			continue
		}
		asked[address] = true
		a, err := s.join(ctx, address, q)
		if err != nil {
			heard = append(heard, "the node at "+address+" "+silence(err))
			continue
		}
		reason, decided, err := s.heed(q, a)
		if err != nil || decided {
			return reason, err
		}
		if reason != "" && !slices.Contains(heard, reason) {
			heard = append(heard, reason)
		}
		if a.Leader != "" {
			todo = append(todo, a.Leader)
		}
	}
	return "nobody lets this node in: " + strings.Join(heard, "; "), nil
}

// whom are the addresses to ask at.
func (s *seeker) whom(config node.Configuration) (list []string) {
	for _, f := range s.founders {
		list = append(list, f.Raft)
	}
	for _, m := range config.Members {
		list = append(list, m.Address)
	}
	for _, n := range s.further {
		if n.hasState() {
			list = append(list, n.Raft)
		}
	}
	return list
}

// heed takes an answer; decided is true if nobody else has to be asked.
func (s *seeker) heed(q joinRequest, a joinAnswer) (reason string, decided bool, err error) {
	switch a.Verdict {
	case verdictInvited:
		s.log.Info("this node asks to be let into a cluster", "cluster", a.ClusterID)
		return "asks cluster " + a.ClusterID + " to be let in", true, s.node.Join(a.ClusterID)
	case verdictAdded, verdictMember:
		return "is a member of cluster " + a.ClusterID + " and waits for its leader", true, nil
	case verdictRemoved:
		s.outcast = true
		return fmt.Sprintf("this node was removed from cluster %s while it was away: %s. Its data are as they were. To let it in again as a new member stop it, delete its data folder (its volume) and start it", a.ClusterID, a.Detail), true, nil
	case verdictOther:
		s.outcast = true
		return fmt.Sprintf("%s. Nothing was changed; if this one is to give way, stop it and delete its data folder (its volume) %s", a.Detail, ofCluster(q.ClusterID)), true, nil
	case verdictRefused:
		return "refused: " + a.Detail, true, nil
	case verdictWait:
		return "not let in yet: " + a.Detail, true, nil
	case verdictNoLeader, verdictEmpty:
	}
	return a.Detail, false, nil
}

func ofCluster(id string) string {
	if id == "" {
		return ""
	}
	return "of cluster " + id
}
