package cluster

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/node"
)

// Whatever the members and whoever of them answers: nobody is removed whom the others
// can not lose, nor anybody but the one whose name and place are asked for.
func TestNobodyIsRemovedForNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := here(func(c *court) { c.config.Members = nil })
		for i := range rapid.IntRange(1, 8).Draw(t, "members") {
			name := fmt.Sprintf("ks-%d", i)
			m := node.Member{ID: name + "-0000000a", Address: name + ".p:1", Voter: rapid.Bool().Draw(t, "votes")}
			c.config.Members = append(c.config.Members, m)
			c.alive[m.ID] = rapid.Bool().Draw(t, "alive")
		}
		name := fmt.Sprintf("ks-%d", rapid.IntRange(0, 9).Draw(t, "asks"))
		q := joinRequest{
			ID: name + "-0000000b", Name: name, Raft: name + ".p:1", ClusterID: rapid.SampledFrom([]string{"", "c0de", "beef"}).Draw(t, "cluster"),
			HasState: rapid.Bool().Draw(t, "state"), Joining: rapid.Bool().Draw(t, "joining"),
		}
		a, does := c.judge(q)
		if does == (deed{}) {
			return
		}
		if a.Verdict != verdictAdded || q.ClusterID != "c0de" || q.HasState && !q.Joining {
			t.Fatalf("%+v for %+v", a, q)
		}
		if does.remove == "" {
			return
		}
		lost, found := c.config.Find(does.remove)
		if !found || lost.Name() != name || lost.Address != q.Raft {
			t.Fatalf("%s is removed for %+v", does.remove, q)
		}
		voters, alive := 0, 0
		for _, m := range c.config.Without(lost.ID).Members {
			if m.Voter {
				voters++
				if c.alive[m.ID] {
					alive++
				}
			}
		}
		if lost.Voter && 2*alive <= voters {
			t.Fatalf("%d of %d would go on without %+v", alive, voters, lost)
		}
	})
}

// FuzzJoinRequest: whatever somebody sends is refused or judged, and what is said of it
// is short.
func FuzzJoinRequest(f *testing.F) {
	for _, seed := range []string{
		"", "null", "{}", `{"id":"ks-0-0000000b","name":"ks-0","raft":"ks-0.p:1","clusterId":"c0de","joining":true}`,
		`{"id":"ks-3-0000000b","name":"ks-3","raft":"ks-3.p:1"}`, `{"id":"ks-3-0000000b","name":"ks-3","raft":"[::1]:1","hasState":true}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var q joinRequest
		if json.NewDecoder(io.LimitReader(bytes.NewReader(body), maxPeerBody)).Decode(&q) != nil {
			return
		}
		if err := q.check(); err != nil {
			require.ErrorIs(t, err, errJoin)
			require.Less(t, len(err.Error()), 2000)
			return
		}
		a, does := here(func(*court) {}).judge(q)
		require.NotEmpty(t, a.Verdict)
		if does.add {
			require.True(t, here(func(*court) {}).mayBeMember(q))
		}
	})
}

func TestSilence(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"does not answer": errors.New("anything"),
		"does not answer: the name ks-2.p does not resolve (yet)":                    &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "ks-2.p", IsNotFound: true}},
		"does not answer: the name ks-2.p can not be looked up (server misbehaving)": &net.DNSError{Err: "server misbehaving", Name: "ks-2.p"},
		"says 403 Forbidden: no":                                            refusal("403 Forbidden: no"),
		"refuses this node's certificate (bad); its log says why":           &net.OpError{Op: "remote error", Err: errors.New("bad")},
		"does not prove to be there: tls: failed to verify certificate: no": &tls.CertificateVerificationError{Err: errors.New("no")},
	} {
		require.Equal(t, want, silence(fmt.Errorf("ask: %w", err)))
	}
	late := x509.CertificateInvalidError{Cert: &x509.Certificate{}, Reason: x509.Expired, Detail: "current time is 12:34"}
	require.NotContains(t, silence(&tls.CertificateVerificationError{Err: late}), "12:34", "it would be news at each look")
}

func TestReport(t *testing.T) {
	t.Parallel()
	var r Report
	require.False(t, r.Check().OK, "it has not looked")
	require.True(t, r.set("waits for n2"))
	require.False(t, r.set("waits for n2"), "no news")
	require.Equal(t, node.Check{Name: "cluster", Detail: "waits for n2"}, r.Check())
	require.True(t, r.set(""))
	require.True(t, r.Check().OK)
}
