package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/pki/pkitest"
)

// apis are the URLs that a node's state knows, by the members' names.
func apis(p *place) map[string]string {
	m := make(map[string]string)
	for member := range p.node.View().Members() {
		m[member.GetName()] = member.GetApiUrl()
	}
	return m
}

func TestClusterIsFounded(t *testing.T) {
	t.Parallel()
	list := places(t, "n10", "n1", "n2")
	list[0].up() // the others are silent
	list[2].up()
	eventually(t, "nobody", func() bool { return list[2].node != nil })
	list[1].up()
	leader(t, list...)
	want := map[string]string{"n1": "http://n1.test:80", "n2": "http://n2.test:80", "n10": "http://n10.test:80"}
	for _, p := range list {
		eventually(t, "all APIs are known on "+p.name, func() bool { return len(apis(p)) == 3 })
		require.Equal(t, want, apis(p))
		require.Equal(t, list[0].node.View().Meta().GetClusterId(), p.node.View().Meta().GetClusterId())
	}
	require.True(t, list[1].journal.has("founding the cluster"))
	for _, i := range []int{0, 2} { // only the lowest ordinal founds: n2 before n10, whatever the order of the list
		require.False(t, list[i].journal.has("founding the cluster"))
	}
	eventually(t, "the lag is told", func() bool {
		for _, peer := range leader(t, list...).node.Status().Peers {
			if peer.Lag < 0 {
				return false
			}
		}
		return true
	})
	eventually(t, "followers know the leader's API", func() bool {
		for _, p := range list {
			if s := p.node.Status(); s.LeaderAPI == "" || s.LeaderAPI != apis(p)[leader(t, list...).name] {
				return false
			}
		}
		return true
	})
}

// terms are what a node's state knows that members pay for, by their names.
func terms(p *place) map[string]string {
	m := make(map[string]string)
	for member := range p.node.View().Members() {
		m[member.GetName()] = member.GetTerms()
	}
	return m
}

// Terms of deposits are told, and told anew after a restart with others.
func TestRestartWithOtherTerms(t *testing.T) {
	t.Parallel()
	list := places(t, "n1", "n2", "n3")
	list[0].terms, list[1].terms = "amount=1", "amount=1"
	for _, p := range list {
		p.up()
	}
	requireTerms := func(p *place, want map[string]string) {
		eventually(t, "the terms are known on "+p.name, func() bool { return maps.Equal(want, terms(p)) })
	}
	for _, p := range list {
		requireTerms(p, map[string]string{"n1": "amount=1", "n2": "amount=1", "n3": ""})
	}
	for i, now := range []string{"", "amount=2"} { // no deposits any more, and others
		list[i].down()
		list[i].terms = now
		list[i].up()
	}
	requireTerms(list[2], map[string]string{"n1": "", "n2": "amount=2", "n3": ""})
	for _, peer := range list[2].node.Status().Peers {
		require.Equal(t, peer.ID == list[1].node.ID(), peer.Terms == "amount=2")
	}
}

// All restart, one of them with another API.
func TestRestartWithAnotherAPI(t *testing.T) {
	t.Parallel()
	list := places(t, "n1", "n2", "n3")
	for _, p := range list {
		p.up()
	}
	eventually(t, "all APIs are known", func() bool { return len(apis(list[2])) == 3 })
	id := list[0].node.View().Meta().GetClusterId()
	for _, p := range list {
		p.down()
	}
	list[1].api = "https://moved.test"
	for _, p := range list {
		p.up()
	}
	for _, p := range list {
		eventually(t, "the new URL is known on "+p.name, func() bool { return apis(p)["n2"] == "https://moved.test" })
		require.Equal(t, id, p.node.View().Meta().GetClusterId(), "founded again")
		require.Equal(t, "http://n1.test:80", apis(p)["n1"])
	}
}

func TestSilentFounder(t *testing.T) {
	t.Parallel()
	list := places(t, "n1", "n2", "n3")
	list[0].up()
	list[1].up()
	eventually(t, "it says for whom it waits", func() bool { return list[0].journal.has("n3 at " + list[2].address + " does not answer") })
	require.False(t, list[0].node.HasState())
	require.False(t, list[1].node.HasState())
	list[2].up()
	leader(t, list...)
}

// survey of the first place, while the others only answer.
func surveyed(t *testing.T, list []*place) string {
	t.Helper()
	f := (&seeker{peers: newPeers(list[0].config())}).survey(t.Context()).judge()
	if len(f.there) > 0 {
		return f.there[0].Name + " has state already"
	}
	return f.waiting
}

func TestWhyNotFounded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(list []*place)
		want  string
	}{
		"well": {func([]*place) {}, ""},
		"a founder with state": {func(list []*place) {
			n := list[1].node
			require.NoError(t, n.Bootstrap([]raft.Server{{ID: raft.ServerID(n.ID()), Address: raft.ServerAddress(list[1].address)}}))
		}, "n2 has state already"},
		"another name": {func(list []*place) {
			list[0].peers = []string{list[0].peers[0], "n9=" + list[1].address}
		}, `is called "n2", not n9`},
		"another list": {func(list []*place) {
			list[0].peers = append(list[0].peers[:2:2], "n3=127.0.0.1:1")
		}, "was given other founders"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := places(t, "n1", "n2")
			list[1].up()
			list[0].open()
			tc.spoil(list)
			answering, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			p := newPeers(list[0].config())
			go func() { done <- p.serve(answering, list[0].link.PeerListener()) }()
			eventually(t, "the other answers", func() bool {
				_, err := p.identity(t.Context(), list[1].address)
				return err == nil
			})
			waiting := surveyed(t, list)
			if tc.want == "" {
				require.Empty(t, waiting)
			} else {
				require.Contains(t, waiting, tc.want)
			}
			stop()
			require.NoError(t, <-done)
		})
	}
}

func TestAnotherNodeAtThisAddress(t *testing.T) {
	t.Parallel()
	list, twin := places(t, "n1"), places(t, "n1")
	list[0].peers = twin[0].peers
	list[0].open()
	twin[0].up() // same name, same list, another disk, and where this one should be
	eventually(t, "it says so", func() bool {
		return strings.Contains(surveyed(t, list), "another node answers") || twin[0].node.HasState()
	})
	require.False(t, list[0].node.HasState())
}

// post sends an announcement to a member as any stranger could.
func post(t *testing.T, from *node.Link, to string, body []byte) int {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return from.Dial(ctx, address) },
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+to+announcePath, bytes.NewReader(body))
	require.NoError(t, err)
	resp, err := c.Do(req)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	list := places(t, "n1")
	p := list[0]
	p.up()
	eventually(t, "it knows itself", func() bool { return len(apis(p)) == 1 })
	id := p.node.ID()
	link, err := node.Listen(t.Context(), "127.0.0.1:0", "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = link.Close() })
	require.Equal(t, http.StatusBadRequest, post(t, link, p.address, []byte("{")))
	t.Cleanup(func() { assert.Len(t, apis(p), 1) })
	for name, tc := range map[string]struct {
		a    announcement
		want int
	}{
		"stranger":         {announcement{"evil-00000000", "evil", "127.0.0.1:1", "http://evil", "", nil}, http.StatusForbidden},
		"member":           {announcement{id, "n1", p.address, "http://moved.test", "", nil}, http.StatusOK},
		"other name":       {announcement{id, "n2", p.address, "http://x", "", nil}, http.StatusBadRequest},
		"no URL":           {announcement{id, "n1", p.address, "", "", nil}, http.StatusBadRequest},
		"no host":          {announcement{id, "n1", p.address, "http://", "", nil}, http.StatusBadRequest},
		"other scheme":     {announcement{id, "n1", p.address, "javascript:alert(1)", "", nil}, http.StatusBadRequest},
		"with credentials": {announcement{id, "n1", p.address, "http://u:p@x", "", nil}, http.StatusBadRequest},
		"split header":     {announcement{id, "n1", p.address, "http://x\r\nSet-Cookie: a=b", "", nil}, http.StatusBadRequest},
		"long URL":         {announcement{id, "n1", p.address, "http://" + strings.Repeat("x", maxURL), "", nil}, http.StatusBadRequest},
		"terms of lines":   {announcement{id, "n1", p.address, "http://x", "a\nb", nil}, http.StatusBadRequest},
		"long terms":       {announcement{id, "n1", p.address, "http://x", strings.Repeat("x", maxTerms+1), nil}, http.StatusBadRequest},
		"with a key":       {announcement{id, "n1", p.address, "http://moved.test", "", []announcedKey{{"tpm:0011223344556677", []byte("public")}}}, http.StatusOK},
		"key of no kind":   {announcement{id, "n1", p.address, "http://x", "", []announcedKey{{"0011223344556677", nil}}}, http.StatusBadRequest},
		"large key":        {announcement{id, "n1", p.address, "http://x", "", []announcedKey{{"tpm:0011223344556677", make([]byte, maxPublic+1)}}}, http.StatusBadRequest},
		"many keys":        {announcement{id, "n1", p.address, "http://x", "", slices.Repeat([]announcedKey{{"file:0011223344556677", nil}}, maxKeys+1)}, http.StatusBadRequest},
		"no address":       {announcement{id, "n1", "", "http://x", "", nil}, http.StatusBadRequest},
		"large":            {announcement{id, "n1", strings.Repeat("x", 2*maxPeerBody), "http://x", "", nil}, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(tc.a)
			require.NoError(t, err)
			require.Equal(t, tc.want, post(t, link, p.address, body))
		})
	}
}

func TestRunRefusesABadURL(t *testing.T) {
	t.Parallel()
	p := places(t, "n1")[0]
	p.open()
	cfg := p.config()
	cfg.API, cfg.Logger = "localhost:80", nil
	require.ErrorIs(t, Run(t.Context(), cfg), errAnnouncement)
}

// A member that is down has no lag that anybody could know.
func TestLagOfALostMember(t *testing.T) {
	t.Parallel()
	list := places(t, "n1", "n2", "n3")
	for _, p := range list {
		p.up()
	}
	l := leader(t, list...)
	lag := func(name string) int64 {
		for _, peer := range l.node.Status().Peers {
			if strings.HasPrefix(peer.ID, name+"-") {
				return peer.Lag
			}
		}
		return -2
	}
	var lost *place
	for _, p := range list {
		if p != l {
			lost = p
		}
	}
	eventually(t, "the lag is told", func() bool { return lag(lost.name) >= 0 })
	lost.down()
	eventually(t, "the lag is not known any more", func() bool { return lag(lost.name) == -1 || !l.node.Status().IsLeader })
}

// Under TLS nobody announces for a member whose host he has no certificate for, not
// even another member.
func TestAnnouncementsAreAuthentic(t *testing.T) {
	t.Parallel()
	ca := pkitest.NewAuthority(t, "Raft CA")
	list := placesAt(t, []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}, "n1", "n2", "n3")
	for _, p := range list {
		host, _, err := net.SplitHostPort(p.address)
		require.NoError(t, err)
		p.security = &node.Security{Certificates: certificates(t, ca, host)}
		for _, other := range list {
			p.security.Founders = append(p.security.Founders, other.address)
		}
		p.up()
	}
	l := leader(t, list...)
	eventually(t, "all are known", func() bool { return len(apis(l)) == 3 })
	var liar, victim *place
	for _, p := range list {
		switch {
		case p == l:
		case liar == nil:
			liar = p
		default:
			victim = p
		}
	}
	lie := func(a announcement) int {
		body, err := json.Marshal(a)
		require.NoError(t, err)
		return post(t, liar.link, l.address, body)
	}
	require.Equal(t, http.StatusForbidden, lie(announcement{ID: victim.node.ID(), Name: victim.name, Raft: victim.address, API: "http://evil.test"}))
	require.Equal(t, http.StatusForbidden, lie(announcement{ID: victim.node.ID(), Name: victim.name, Raft: liar.address, API: "http://evil.test"}))
	require.Equal(t, http.StatusForbidden, lie(announcement{ID: liar.node.ID(), Name: liar.name, Raft: victim.address, API: "http://evil.test"}))
	require.True(t, l.journal.has("an announcement was refused"))
	require.NotContains(t, apis(l), "http://evil.test")
	require.Equal(t, http.StatusOK, lie(announcement{ID: liar.node.ID(), Name: liar.name, Raft: liar.address, API: "http://moved.test"}), "for itself it may")
}

// A founder that can not prove to be one is not waited for in silence.
func TestFoundingSaysWhoseCertificateIsWrong(t *testing.T) {
	t.Parallel()
	ca := pkitest.NewAuthority(t, "Raft CA")
	list := places(t, "n1", "n2")
	for i, hosts := range [][]string{{"127.0.0.1"}, {"n2.example"}} {
		list[i].security = &node.Security{Certificates: certificates(t, ca, hosts...), Founders: []string{"127.0.0.1:1", "n2.example:1"}}
		list[i].up()
	}
	eventually(t, "it is said", func() bool { return list[0].journal.has("does not prove to be there") })
	require.False(t, list[0].node.HasState())

	list = places(t, "n1", "n2")
	for i, founders := range [][]string{{"127.0.0.1:1"}, {"n2.example:1"}} {
		list[i].security = &node.Security{Certificates: certificates(t, ca, "127.0.0.1"), Founders: founders}
		list[i].up()
	}
	eventually(t, "it is said", func() bool { return list[0].journal.has("refuses this node's certificate") })
}
