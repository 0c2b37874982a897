package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/pki/pkitest"
)

// withStranger returns the three members of a cluster, and behind them a place that they do
// not know of.
func withStranger(t *testing.T) []*place {
	t.Helper()
	list := places(t, "n1", "n2", "n3", "west")
	for _, p := range list {
		p.peers = p.peers[:3]
	}
	founded(t, list[:3])
	return list
}

// founded brings all up and returns when each has told where its API is, and remembers
// its cluster.
func founded(t *testing.T, list []*place) {
	t.Helper()
	for _, p := range list {
		p.up()
	}
	for _, p := range list {
		eventually(t, "all APIs are known on "+p.name, func() bool { return len(apis(p)) == len(list) })
		eventually(t, p.name+" remembers its cluster", func() bool {
			_, err := os.Stat(filepath.Join(p.folder, "cluster"))
			return err == nil
		})
	}
}

// wipe takes the node's disk away and starts it again.
func (p *place) wipe() {
	p.t.Helper()
	if p.node != nil {
		p.down()
	}
	require.NoError(p.t, os.RemoveAll(p.folder))
	p.up()
}

func (p *place) configuration() node.Configuration {
	p.t.Helper()
	c, err := p.node.Configuration()
	require.NoError(p.t, err)
	return c
}

// voters are the IDs of those who vote, as this node knows them.
func (p *place) voters() (ids []string) {
	for _, m := range p.configuration().Members {
		if m.Voter {
			ids = append(ids, m.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func idsOf(list ...*place) (ids []string) {
	for _, p := range list {
		ids = append(ids, p.node.ID())
	}
	slices.Sort(ids)
	return ids
}

// requireMembers waits until exactly these vote, are on the records, and wait for nobody.
func requireMembers(t *testing.T, list ...*place) {
	t.Helper()
	want := idsOf(list...)
	for _, p := range list {
		eventually(t, "voters on "+p.name, func() bool { return slices.Equal(want, p.voters()) })
		eventually(t, "records on "+p.name, func() bool {
			var have []string
			for m := range p.node.View().Members() {
				have = append(have, m.GetNodeId())
			}
			slices.Sort(have)
			return slices.Equal(want, have)
		})
		eventually(t, p.name+" waits for nobody", func() bool { return p.report.Check().OK })
		require.False(t, p.node.Joining())
		require.Equal(t, list[0].node.View().Meta().GetClusterId(), p.node.View().Meta().GetClusterId())
	}
}

// requireWaits waits until the node's readiness says so.
func requireWaits(t *testing.T, p *place, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		c := p.report.Check()
		return !c.OK && strings.Contains(c.Detail, text)
	}, patience, 5*time.Millisecond, "%s does not say %q but %v", p.name, text, p.report)
}

// String implements fmt.Stringer, late enough for a message of a test.
func (r *Report) String() string { return fmt.Sprint(r.Check()) }

// writers write through whoever leads until stop, which fails the test if ever nothing
// was acknowledged for long.
func writers(t *testing.T, list []*place) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var done atomic.Int64
	var nodes []*node.Node
	for _, p := range list {
		nodes = append(nodes, p.node)
	}
	running.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			n := nodes[i%len(nodes)]
			within, end := context.WithTimeout(ctx, time.Second)
			_, err := n.Propose(within, &fsmpb.Command{Body: &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: 1}}})
			end()
			if err == nil {
				done.Add(1)
			} else {
				_ = pause(ctx, time.Millisecond)
			}
		}
	})
	eventually(t, "the first write", func() bool { return done.Load() > 0 })
	return func() {
		before := done.Load()
		eventually(t, "writes go on", func() bool { return done.Load() > before+10 })
		cancel()
		running.Wait()
	}
}

// fakeScale is a StatefulSet of nodes n1, n2 and so on.
type fakeScale struct {
	replicas atomic.Int64
	unknown  atomic.Bool
}

func (f *fakeScale) Ordinal(name string) (int, bool) {
	_, i, ok := ordinalOf(name)
	return i - 1, ok && i > 0
}

var errUnknown = errors.New("the number of replicas is not known")

func (f *fakeScale) Wanted(context.Context) (int, error) {
	if f.unknown.Load() {
		return 0, errUnknown
	}
	return int(f.replicas.Load()), nil
}

func (f *fakeScale) Confirmed(ctx context.Context) (int, error) { return f.Wanted(ctx) }

// loopbacks gives out subnets of loopback, one for each test.
var loopbacks atomic.Int64

// replicas reserves places of one kind, of which the first are the founders, on hosts
// of their own and under TLS.
func replicas(t *testing.T, founders, all int) ([]*place, *fakeScale) {
	t.Helper()
	net1 := fmt.Sprintf("127.0.%d.", 40+loopbacks.Add(1))
	probe, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net1+"1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(probe.Addr().String())
	require.NoError(t, err)
	require.NoError(t, probe.Close())
	var hosts, names []string
	for i := range all {
		hosts, names = append(hosts, fmt.Sprintf("%s%d", net1, i+1)), append(names, fmt.Sprintf("n%d", i+1))
	}
	ca := pkitest.NewAuthority(t, "Raft CA")
	list, scale := placesAt(t, hosts, names...), &fakeScale{}
	scale.replicas.Store(int64(founders))
	var peers []string
	for i, p := range list {
		if p.address = hosts[i] + ":" + port; i < founders {
			peers = append(peers, p.name+"="+p.address)
		}
	}
	known, err := ParsePeers(peers)
	require.NoError(t, err)
	for i, p := range list {
		p.peers, p.scale = peers, scale
		p.security = &node.Security{Certificates: certificates(t, ca, hosts[i]), Others: PatternOf(known).FitsHost}
		for _, f := range known {
			p.security.Founders = append(p.security.Founders, f.Raft)
		}
	}
	return list, scale
}
