package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// How nodes answer in the tests, or do not.
var (
	errNoName  = &net.DNSError{Err: "no such host", Name: "it", IsNotFound: true}
	errNoDNS   = &net.DNSError{Err: "server misbehaving", Name: "it", IsTemporary: true}
	errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	errNobody  = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}
	errSilent  = errors.New("time-out")
)

// view is what ks-0 of three founders saw, and of how many it heard that they are wanted.
type view struct {
	host    string // of ordinal %d
	but     map[int]func(*sighting)
	counted bool
	known   bool
	n       int
}

func (s view) survey(t *testing.T) survey {
	t.Helper()
	peer := func(i int) Peer { return Peer{Name: fmt.Sprintf("ks-%d", i), Raft: fmt.Sprintf(s.host, i) + ":1"} }
	founders := []Peer{peer(0), peer(1), peer(2)}
	v := survey{selfName: "ks-0", selfID: "ks-0-id", patterned: true, wanted: wanted{counted: s.counted, known: s.known, n: s.n, ordinal: func(name string) (int, bool) {
		_, i, ok := ordinalOf(name)
		return i, ok
	}}}
	see := func(i int) sighting {
		n := sighting{Peer: peer(i)}
		n.id = Identity{ID: n.Name + "-id", Name: n.Name, Founders: describe(founders)}
		if i >= len(founders) {
			n.err = errNoName
		}
		if change := s.but[i]; change != nil {
			change(&n)
		}
		return n
	}
	for i := range founders {
		v.founders = append(v.founders, see(i))
	}
	pattern := PatternOf(founders)
	require.True(t, pattern.known)
	for i, p := range pattern.further(founders, s.n) {
		n := see(i + len(founders))
		require.Equal(t, p, n.Peer)
		v.further = append(v.further, n)
	}
	return v
}

func fails(err error) func(*sighting) { return func(n *sighting) { n.id, n.err = Identity{}, err } }
func empty(n *sighting)               { n.err = nil }
func state(n *sighting)               { n.err, n.id.HasState = nil, true }

func all(what func(*sighting), ordinals ...int) map[int]func(*sighting) {
	m := map[int]func(*sighting){}
	for _, i := range ordinals {
		m[i] = what
	}
	return m
}

func with(m map[int]func(*sighting), i int, what func(*sighting)) map[int]func(*sighting) {
	m[i] = what
	return m
}

// When a cluster may be founded: never beside one that may be there.
func TestSurvey(t *testing.T) {
	t.Parallel()
	pods, ips := "ks-%d.peers", "10.0.0.%d"
	for name, tc := range map[string]struct {
		view
		there   string // who has state
		waiting string // "" is founded
	}{
		"first install of three pods":              {view{host: pods, counted: true, known: true, n: 3}, "", ""},
		"before Kubernetes tells":                  {view{host: pods, counted: true}, "", "how many replicas are wanted is not known"},
		"before, but all of the kind are empty":    {view{host: pods, counted: true, but: all(empty, 3, 4, 5, 6, 7, 8)}, "", ""},
		"first install of five":                    {view{host: pods, counted: true, known: true, n: 5, but: all(empty, 3, 4)}, "", ""},
		"of five, one has no name yet":             {view{host: pods, counted: true, known: true, n: 5, but: all(empty, 3)}, "", "5 replicas are wanted, and ks-4 at ks-4.peers:1, which may be part of a cluster already, does not answer: the name it does not resolve (yet)"},
		"of five, one starts":                      {view{host: pods, counted: true, known: true, n: 5, but: with(all(empty, 3), 4, fails(errRefused))}, "", "5 replicas are wanted, and ks-4"},
		"of five, one is silent":                   {view{host: pods, counted: true, known: true, n: 5, but: with(all(empty, 3), 4, fails(errSilent))}, "", "5 replicas are wanted, and ks-4"},
		"more than nine":                           {view{host: pods, counted: true, known: true, n: 13, but: all(empty, 3, 4, 5, 6, 7, 8, 9, 10, 11)}, "", "13 replicas are wanted, and ks-12"},
		"founders' disks lost, four of seven live": {view{host: pods, counted: true, known: true, n: 7, but: all(state, 3, 4, 5, 6)}, "ks-3 ks-4 ks-5 ks-6", ""},
		"one that lives is enough":                 {view{host: pods, counted: true, known: true, n: 7, but: with(all(fails(errSilent), 3, 4, 5), 6, state)}, "ks-6", ""},
		"cut off from those that live":             {view{host: pods, counted: true, known: true, n: 7, but: all(fails(errSilent), 3, 4, 5, 6)}, "", "7 replicas are wanted, and ks-3"},
		"founder silent, another has state":        {view{host: pods, counted: true, known: true, n: 5, but: with(all(fails(errSilent), 1), 4, state)}, "ks-4", ""},
		"scaled down, one ends":                    {view{host: pods, counted: true, known: true, n: 3, but: all(state, 4)}, "ks-4", ""},
		"scaled down, one was refused":             {view{host: pods, counted: true, known: true, n: 3, but: all(fails(errRefused), 3)}, "", ""},
		"not wanted and silent":                    {view{host: pods, counted: true, known: true, n: 3, but: all(fails(errSilent), 3)}, "", "ks-3 at ks-3.peers:1 may be part of a cluster already, and does not answer"},
		"names can not be looked up":               {view{host: pods, counted: true, known: true, n: 3, but: all(fails(errNoDNS), 8)}, "", "ks-8 at ks-8.peers:1 may be"},
		"a founder is silent":                      {view{host: pods, counted: true, known: true, n: 3, but: all(fails(errSilent), 2)}, "", "ks-2 at ks-2.peers:1 does not answer"},
		"a founder has state":                      {view{host: pods, counted: true, known: true, n: 3, but: all(state, 2)}, "ks-2", ""},
		"nobody counts":                            {view{host: pods}, "", ""},
		"nobody counts, one is refused":            {view{host: pods, but: all(fails(errRefused), 3, 4)}, "", ""},
		"nobody counts, one has state":             {view{host: pods, but: all(state, 4)}, "ks-4", ""},
		"nobody counts, a name is silent":          {view{host: pods, but: all(fails(errSilent), 4)}, "", "ks-4 at ks-4.peers:1 may be part of a cluster already"},
		"nobody counts, nothing at the IPs":        {view{host: ips, but: all(fails(errNobody), 3, 4, 5, 6, 7, 8)}, "", ""},
		"nobody counts, an IP answers oddly":       {view{host: ips, but: with(all(fails(errNobody), 3, 4, 5, 6, 7), 8, fails(errSilent))}, "", "ks-8 at 10.0.0.8:1 may be"},
		"other founders":                           {view{host: pods, counted: true, known: true, n: 5, but: with(all(empty, 3), 4, func(n *sighting) { n.err, n.id.Founders = nil, "x" })}, "", `ks-4 was given other founders: "x"`},
		"another name":                             {view{host: pods, but: all(func(n *sighting) { n.err, n.id.Name = nil, "x" }, 4)}, "", `the node at ks-4.peers:1 is called "x"`},
		"another self":                             {view{host: pods, but: all(func(n *sighting) { n.id.ID = "x" }, 0)}, "", "another node answers at ks-0.peers:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := tc.survey(t).judge()
			var there string
			for _, p := range f.there {
				there += " " + p.Name
			}
			if tc.there != "" {
				require.Equal(t, " "+tc.there, there)
				return
			}
			require.Empty(t, there)
			if tc.waiting != "" {
				require.Contains(t, f.waiting, tc.waiting)
				return
			}
			require.Empty(t, f.waiting)
			require.Len(t, f.servers, 3, "the founders alone")
			require.EqualValues(t, "ks-0-id", f.servers[0].ID)
		})
	}
	v := view{host: pods, counted: true, known: true, n: 5}.survey(t)
	v.patterned, v.further = false, nil
	require.Contains(t, v.judge().waiting, "can not be told from their names")
	require.Empty(t, PatternOf(nil).further(nil, 9))
}

// Three founders became seven and lose their disks at once. They found nothing beside the
// four that live, not even while they can not hear them, and are let in again.
func TestFoundersLoseTheirDisks(t *testing.T) {
	t.Parallel()
	list, scale := replicas(t, 3, 7)
	founded(t, list[:3])
	scale.replicas.Store(7)
	for _, p := range list[3:] {
		p.up()
	}
	requireMembers(t, list...)
	cluster := list[6].node.ClusterID()
	for _, p := range list {
		p.down()
	}
	for _, p := range list[:3] {
		p.journal = new(journal)
		p.wipe()
	}
	requireWaits(t, list[0], "7 replicas are wanted, and n4 at "+list[3].address)
	list[6].up() // has no majority
	for _, p := range list[:3] {
		requireWaits(t, p, "n7 has state already")
		require.False(t, p.node.HasState())
	}
	for _, p := range list[3:6] {
		p.up()
	}
	requireMembers(t, list...)
	for _, p := range list[:3] {
		require.Equal(t, cluster, p.node.ClusterID())
		require.False(t, p.journal.has("founding the cluster"))
	}
}

// Nothing is founded as long as nobody knows of how many it is to consist; a first
// installation of more than the founders works.
func TestFoundingAwaitsTheNumberOfNodes(t *testing.T) {
	t.Parallel()
	list, scale := replicas(t, 3, 5)
	scale.replicas.Store(5)
	scale.unknown.Store(true)
	for _, p := range list[:4] {
		p.up()
	}
	requireWaits(t, list[0], "how many replicas are wanted is not known")
	scale.unknown.Store(false)
	requireWaits(t, list[0], "5 replicas are wanted, and n5 at "+list[4].address)
	require.False(t, list[0].node.HasState())
	list[4].up()
	requireMembers(t, list...)
}
