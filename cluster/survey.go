package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// sighting is what came of asking a node who it is.
type sighting struct {
	Peer
	id  Identity
	err error
}

func (n sighting) hasState() bool { return n.err == nil && n.id.Name == n.Name && n.id.HasState }

// absent tells whether there surely is no node: its name does not exist, or the machine
// says that nobody listens.
func (n sighting) absent() bool {
	dns, ok := errors.AsType[*net.DNSError](n.err)
	return ok && dns.IsNotFound || errors.Is(n.err, syscall.ECONNREFUSED)
}

// nowhere tells whether nothing at all is at an address that nobody had to enter into a
// directory of names: every IP is an address, so its silence says little.
func (n sighting) nowhere() bool {
	host, _, err := net.SplitHostPort(n.Raft)
	op, dialled := errors.AsType[*net.OpError](n.err)
	return err == nil && net.ParseIP(host) != nil && dialled && op.Op == "dial"
}

// wanted is how many nodes there are to be.
type wanted struct {
	counted bool // somebody counts them
	known   bool // and has told
	n       int
	ordinal func(name string) (int, bool)
}

// among tells whether a node is one of those that there are to be, as far as is known.
func (w wanted) among(name string) bool {
	if !w.counted {
		return false
	}
	i, ok := w.ordinal(name)
	return ok && (!w.known || i < w.n)
}

func (p *peers) wanted(ctx context.Context) wanted {
	if p.scale == nil {
		return wanted{}
	}
	n, err := p.scale.Wanted(ctx)
	return wanted{counted: true, known: err == nil, n: n, ordinal: p.scale.Ordinal}
}

// survey is what a founder without state knows before there is a cluster.
type survey struct {
	selfName, selfID string
	founders         []sighting
	// further are others of the founders' kind. If nothing tells where these are,
	// patterned is false.
	further   []sighting
	patterned bool
	wanted    wanted
}

// finding is what follows from a survey: who has state, or else why nobody may found the
// cluster, or else of whom it consists.
type finding struct {
	there   []Peer
	waiting string
	servers []raft.Server
}

func (v survey) judge() (f finding) {
	list := make([]Peer, len(v.founders))
	for i, n := range v.founders {
		list[i] = n.Peer
	}
	known := describe(list)
	note := func(n sighting, why string) {
		if n.hasState() { // that it is there counts for more than who is not
			f.there = append(f.there, n.Peer)
		}
		if f.waiting == "" {
			f.waiting = why
		}
	}
	for _, n := range v.founders {
		note(n, v.founder(n, known))
		f.servers = append(f.servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(n.id.ID), Address: raft.ServerAddress(n.Raft),
		})
	}
	if w := v.wanted; w.counted && w.known && w.n > len(list) && !v.patterned && f.waiting == "" {
		f.waiting = fmt.Sprintf("%d replicas are wanted, and where those are that --peers does not name can not be told from their names", w.n)
	}
	for _, n := range v.further {
		note(n, v.another(n, known))
	}
	return f
}

// founder says why one of the founders can not begin.
func (v survey) founder(n sighting, known string) string {
	switch {
	case n.err != nil:
		return fmt.Sprintf("%s at %s %s", n.Name, n.Raft, silence(n.err))
	case n.Name == v.selfName && n.id.Name == n.Name && n.id.ID != v.selfID:
		return fmt.Sprintf("another node answers at %s, the address of this one", n.Raft)
	}
	return odd(n, known)
}

// odd says what is wrong with a node that answered.
func odd(n sighting, known string) string {
	switch {
	case n.id.Name != n.Name:
		return fmt.Sprintf("the node at %s is called %q, not %s", n.Raft, n.id.Name, n.Name)
	case n.id.Founders != known:
		return fmt.Sprintf("%s was given other founders: %q", n.Name, n.id.Founders)
	}
	return ""
}

// another says why a cluster may be there of which this node of the founders' kind is a
// member. Those that are to be there have to say that they are not; of the others it is
// enough that they are not there.
func (v survey) another(n sighting, known string) string {
	w := v.wanted
	switch {
	case n.err == nil:
		return odd(n, known)
	case w.among(n.Name) && !w.known:
		return "how many replicas are wanted is not known (yet), so there may be a cluster of more than the founders"
	case w.among(n.Name):
		return fmt.Sprintf("%d replicas are wanted, and %s at %s, which may be part of a cluster already, %s", w.n, n.Name, n.Raft, silence(n.err))
	case n.absent(), !w.counted && n.nowhere():
		return ""
	}
	return fmt.Sprintf("%s at %s may be part of a cluster already, and %s", n.Name, n.Raft, silence(n.err))
}

// survey asks the founders, and those of their kind.
func (s *seeker) survey(ctx context.Context) survey {
	w := s.wanted(ctx)
	v := survey{
		selfName: s.node.Name(), selfID: s.node.ID(), founders: s.sight(ctx, s.founders),
		further: s.further, patterned: s.pattern.known, wanted: w,
	}
	if f := v.judge(); f.waiting == "" && len(f.there) == 0 {
		s.furtherAt = time.Time{} // what was heard before is not enough for founding
	}
	v.further = s.lookFurther(ctx, w)
	return v
}

// furtherInterval is how often a node that waits asks those of the founders' kind, most
// of which are but names that are looked up in vain.
const furtherInterval = time.Second

// lookFurther asks those of the founders' kind, if it did not a moment ago.
func (s *seeker) lookFurther(ctx context.Context, w wanted) []sighting {
	if s.furtherAt.IsZero() || time.Since(s.furtherAt) >= furtherInterval {
		s.further = s.sight(ctx, s.pattern.further(s.founders, w.n))
		s.furtherAt = time.Now()
	}
	return s.further
}

// confirm makes sure of how many nodes there are to be before it is acted on.
func (s *seeker) confirm(ctx context.Context, v survey) (why string) {
	if s.scale == nil {
		return ""
	}
	n, err := s.scale.Confirmed(ctx)
	switch {
	case err != nil:
		return "how many replicas are wanted can not be confirmed: " + err.Error()
	case n != v.wanted.n:
		return fmt.Sprintf("how many replicas are wanted has just changed to %d", n)
	}
	return ""
}

// sight asks these nodes who they are, all at once.
func (p *peers) sight(ctx context.Context, list []Peer) []sighting {
	seen := make([]sighting, len(list))
	var asked sync.WaitGroup
	for i, peer := range list {
		asked.Go(func() {
			seen[i].Peer = peer
			seen[i].id, seen[i].err = p.identity(ctx, peer.Raft)
		})
	}
	asked.Wait()
	return seen
}

const maxFurther = 99

// further are the nodes of this kind that a cluster may have beyond its founders: as many
// as there may be members or there are to be, counted from the first founder.
func (p Pattern) further(founders []Peer, wanted int) (list []Peer) {
	if !p.known {
		return nil
	}
	_, first, _ := ordinalOf(founders[0].Name)
	for i := first; i < first+max(maxMembers, min(wanted, maxFurther)); i++ {
		peer := Peer{Name: p.name + strconv.Itoa(i), Raft: net.JoinHostPort(p.before+strconv.Itoa(i)+p.after, p.port)}
		if !slices.Contains(founders, peer) {
			list = append(list, peer)
		}
	}
	return list
}
