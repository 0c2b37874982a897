package cluster

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPattern(t *testing.T) {
	t.Parallel()
	pods := "ks-0=ks-0.peers.ns.svc:1 ks-1=ks-1.peers.ns.svc:1"
	for name, tc := range map[string]struct {
		founders string
		fits     string // one more
		not      string // and others that do not
	}{
		"pods":                {pods, "ks-3=ks-3.peers.ns.svc:1", "ks-3=ks-4.peers.ns.svc:1 ks-03=ks-03.peers.ns.svc:1 other-3=ks-3.peers.ns.svc:1 ks-3=ks-3.evil:1 ks-3=ks-3.peers.ns.svc:2 ks-3=xks-3.peers.ns.svc:1 ks-=ks-.peers.ns.svc:1 ks-3=3:1"},
		"a digit in the rest": {"ks-1=ks-1.peers.ns1.svc:1", "ks-2=ks-2.peers.ns1.svc:1", "ks-2=ks-1.peers.ns2.svc:1"},
		"loopback hosts":      {"n1=127.0.3.1:7 n2=127.0.3.2:7", "n12=127.0.3.12:7", "n12=127.0.12.3:7"},
		"one founder":         {"ks-0=ks-0.p:1", "ks-2=ks-2.p:1", "ks-2=ks-0.p:1"},
		"one host":            {"n1=127.0.0.1:1 n2=127.0.0.1:2", "", "n3=127.0.0.1:3 n3=127.0.0.3:1"},
		"no ordinals":         {"a=a.p:1 b=b.p:1", "", "c=c.p:1"},
		"two ways":            {"n1=127.1.1.9:1", "", "n2=127.2.1.9:1 n2=127.1.2.9:1"},
		"different bases":     {"a-0=a-0.p:1 b-1=b-1.p:1", "", "a-2=a-2.p:1"},
		"different ports":     {"a-0=a-0.p:1 a-1=a-1.p:2", "", "a-2=a-2.p:1"},
		"nobody":              {"", "", "a-2=a-2.p:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read := func(text string) []Peer {
				var list []Peer
				for _, word := range strings.Fields(text) {
					name, address, _ := strings.Cut(word, "=")
					list = append(list, Peer{Name: name, Raft: address})
				}
				return list
			}
			p := PatternOf(read(tc.founders))
			require.Equal(t, tc.fits != "", p.known)
			for _, node := range append(read(tc.fits), read(tc.founders)...) {
				require.Equal(t, p.known, p.Fits(node), "%+v", node)
				host, _, _ := strings.Cut(node.Raft, ":")
				require.Equal(t, p.known, p.FitsHost(host), "%+v", node)
			}
			for _, node := range read(tc.not) {
				require.False(t, p.Fits(node), "%+v", node)
			}
		})
	}
}

// Whatever the names, one more of a StatefulSet fits, and none of another one does.
func TestPatternOfStatefulSets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.StringMatching(`[a-z]([a-z0-9-]{0,8}[a-z0-9])?`)
		set, domain := label.Draw(t, "set"), label.Draw(t, "service")+"."+label.Draw(t, "namespace")+".svc"
		pod := func(set string, i int) Peer {
			name := set + "-" + strconv.Itoa(i)
			return Peer{Name: name, Raft: name + "." + domain + ":8300"}
		}
		var founders []Peer
		for i := range rapid.IntRange(1, 5).Draw(t, "founders") {
			founders = append(founders, pod(set, i))
		}
		p := PatternOf(founders)
		more := rapid.IntRange(0, maxOrdinal).Draw(t, "ordinal")
		if !p.Fits(pod(set, more)) || !p.FitsHost(set+"-"+strconv.Itoa(more)+"."+domain) {
			t.Fatalf("%+v does not fit %+v", pod(set, more), founders)
		}
		other := label.Filter(func(s string) bool { return s != set }).Draw(t, "other")
		if p.Fits(pod(other, more)) || p.FitsHost(other+"-"+strconv.Itoa(more)+"."+domain) {
			t.Fatalf("%+v fits %+v", pod(other, more), founders)
		}
	})
}
