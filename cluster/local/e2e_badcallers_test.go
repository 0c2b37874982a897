package local

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/pki"
)

// portDays is a cluster with TLS on both ports whose leader has bad days.
type portDays struct {
	*launcher

	t      *testing.T
	leader int
	term   int64
	pods   int
}

func newPortDays(t *testing.T) *portDays {
	t.Helper()
	d := &portDays{launcher: newLauncher(t, 3), t: t}
	var err error
	d.site.tls, err = openCertificates(d.folder, 3, d.site.host)
	require.NoError(t, err)
	require.NoError(t, d.startNodes(t.Context()))
	require.NoError(t, d.initSeed(t.Context()))
	require.Eventually(t, func() bool { d.leader, d.term = d.whoLeads(); return d.leader >= 0 }, patience, 20*time.Millisecond)
	d.requireServes()
	return d
}

// whoLeads returns the node that says so itself, from 0, and its term; -1 for nobody.
func (l *launcher) whoLeads() (index int, term int64) {
	for i := range l.site.ports.API {
		var c wire.Cluster
		answer, _ := l.look(i, "/v1/cluster")
		if json.Unmarshal(answer, &c) == nil && strings.HasPrefix(c.Leader, nodeName(i)+"-") {
			return i, c.Term
		}
	}
	return -1, 0
}

// look asks a node as a viewer; what it answers may be an error.
func (l *launcher) look(i int, path string) (answer []byte, header http.Header) {
	token, _ := os.ReadFile(l.site.tokens.Viewer)
	request, err := http.NewRequest(http.MethodGet, l.site.apiURL(i)+path, nil)
	if err != nil {
		return nil, nil
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	client := &http.Client{Timeout: 10 * time.Second, Transport: unverified}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil
	}
	defer response.Body.Close()
	answer, _ = io.ReadAll(response.Body)
	return answer, response.Header
}

func (d *portDays) requireServes() {
	d.t.Helper()
	d.pods++
	pod := "pod-" + strconv.Itoa(d.pods)
	out, err := d.keysteward(d.t, "allocate", "--pod", pod, "--keys", "1", "--out", d.folder.in("pods", pod), "--layout", "teku")
	require.NoError(d.t, err, out)
}

func (d *portDays) applied() int64 {
	d.t.Helper()
	_, header := d.look(d.leader, "/v1/cluster")
	index, err := strconv.ParseInt(header.Get("X-Keysteward-Applied-Index"), 10, 64)
	require.NoError(d.t, err)
	return index
}

// bear holds if the leader goes on through what is done: it leads in the same term,
// pods get keys, and its memory and its log stay bounded.
func (d *portDays) bear(name string, do func()) {
	d.t.Helper()
	before, size := resident(d.t, d.nodes.process(d.leader).pid()), len(readText(d.t, d.site.log(d.leader)))
	do()
	d.requireServes()
	leader, term := d.whoLeads()
	require.Equal(d.t, d.leader, leader, name)
	require.Equal(d.t, d.term, term, name)
	grown, said := resident(d.t, d.nodes.process(d.leader).pid())-before, len(readText(d.t, d.site.log(d.leader)))-size
	d.t.Logf("%s: memory grew by %d KiB, the log by %d bytes", name, grown, said)
	require.Less(d.t, grown, 256<<10, name)
	require.Less(d.t, said, 200<<10, name)
}

func (d *portDays) api() string  { return address(d.site.ports.API[d.leader]) }
func (d *portDays) raft() string { return address(d.site.ports.Raft[d.leader]) }

// TestBadDaysOfPorts: floods, slow callers, garbage and idle connections meet the
// leader of a cluster with TLS.
func TestBadDaysOfPorts(t *testing.T) {
	t.Parallel()
	d := newPortDays(t)
	d.bear("a flood without tokens and with wrong ones", d.floodWithTokens)
	d.bear("slow callers", d.dripSlowly)
	d.bear("garbage", d.sendGarbage)
	d.bear("10,000 idle connections on the members' port", d.idleOnRaft)
	d.expire()
	d.setClock()
	d.requireNothingSecret()
}

// floodWithTokens costs no commits and few lines of the log.
func (d *portDays) floodWithTokens() {
	d.t.Helper()
	const each, callers = 250, 16
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: callers}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	before, began := d.applied(), time.Now()
	var running sync.WaitGroup
	var odd atomic.Value
	for c := range callers {
		running.Go(func() {
			for i := range each {
				method, path := []string{http.MethodGet, http.MethodPost, http.MethodPut}[i%3], []string{"/v1/keys", "/v1/allocations?wait=30s", "/v1/seed"}[i%3]
				r, err := http.NewRequestWithContext(d.t.Context(), method, "https://"+d.api()+path, strings.NewReader(`{"keys":1}`))
				if err != nil {
					odd.Store(err.Error())
					return
				}
				if c%2 == 0 {
					r.Header.Set("Authorization", fmt.Sprintf("Bearer kst_%064d", c*each+i))
				}
				w, err := client.Do(r)
				if err != nil {
					odd.Store(err.Error())
					return
				}
				_, _ = io.Copy(io.Discard, w.Body)
				_ = w.Body.Close()
				if w.StatusCode != http.StatusUnauthorized && w.StatusCode != http.StatusTooManyRequests {
					odd.Store(w.Status)
				}
			}
		})
	}
	running.Wait()
	require.Nil(d.t, odd.Load())
	grown := d.applied() - before
	d.t.Logf("%d refused requests in %v: %d log entries", each*callers, time.Since(began), grown)
	require.Less(d.t, grown, int64(50), "refused callers cost commits")
}

// dripSlowly leaves callers behind that never finish what they say.
func (d *portDays) dripSlowly() {
	d.t.Helper()
	for i := range 300 {
		c := d.dial(d.api(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		head := "POST /v1/allocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
		if i%2 == 0 {
			head += "Content-Length: 1000000\r\nAuthorization: Bearer wrong\r\n\r\n{"
		}
		_, err := io.WriteString(c, head)
		require.NoError(d.t, err)
	}
}

// dial opens a connection, with TLS unless config is nil, which the test closes.
func (d *portDays) dial(address string, config *tls.Config) net.Conn {
	d.t.Helper()
	c, err := new(net.Dialer).DialContext(d.t.Context(), "tcp", address)
	require.NoError(d.t, err)
	d.t.Cleanup(func() { _ = c.Close() })
	if config == nil {
		return c
	}
	secured := tls.Client(c, config)
	require.NoError(d.t, secured.HandshakeContext(d.t.Context()))
	return secured
}

// garbage by its name; all of it is refused or answered with an error.
func garbage() map[string]string {
	random := make([]byte, 64<<10)
	_, _ = rand.Read(random)
	request := "POST /v1/allocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\nContent-Type: application/json\r\n"
	return map[string]string{
		"random bytes":          string(random),
		"zeros":                 strings.Repeat("\x00", 64<<10),
		"a TLS record":          "\x16\x03\x01\xff\xff" + string(random),
		"a TLS alert":           "\x15\x03\x03\x00\x02\x02\x28",
		"HTTP/2 and nonsense":   "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + string(random[:4096]),
		"HTTP/2 huge frame":     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x01",
		"huge headers":          request + "X-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		"many headers":          request + strings.Repeat("X-A: a\r\n", 50_000) + "\r\n",
		"huge path":             "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"chunks without an end": request + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("ffff\r\n"+strings.Repeat("x", 0xffff)+"\r\n", 64),
		"a huge chunk":          request + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		"two lengths":           request + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"length and chunks":     request + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/seed HTTP/1.1\r\n\r\n",
		"negative length":       request + "Content-Length: -1\r\n\r\n",
		"oversized body":        request + "Content-Length: 4194304\r\n\r\n" + strings.Repeat("x", 4<<20),
		"a thousand at once":    strings.Repeat("GET /v1/seed HTTP/1.1\r\nHost: x\r\n\r\n", 1000),
		"a hello of Raft":       "R\xff" + strings.Repeat("n", 300) + string(random[:4096]),
		"a hello of peers":      "P" + request + "\r\n",
		"no version":            "GET /\r\n\r\n",
	}
}

// sendGarbage sends all of it to both ports, outside and inside of TLS, with and
// without a member's certificate.
func (d *portDays) sendGarbage() {
	d.t.Helper()
	node := filepath.Join(d.folder.path, "tls", "nodes", nodeName((d.leader+1)%3))
	member, err := tls.LoadX509KeyPair(filepath.Join(node, "raft.crt"), filepath.Join(node, "raft.key"))
	require.NoError(d.t, err)
	within := func(protocols ...string) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, NextProtos: protocols, Certificates: []tls.Certificate{member}}
	}
	var running sync.WaitGroup
	for name, text := range garbage() {
		for where, c := range map[string]net.Conn{
			"API": d.dial(d.api(), nil), "Raft": d.dial(d.raft(), nil),
			"API, HTTP/1": d.dial(d.api(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}),
			"API, HTTP/2": d.dial(d.api(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}),
			"peers":       d.dial(d.raft(), within("keysteward-peer/1")), "members": d.dial(d.raft(), within("keysteward-raft/1")),
		} {
			running.Go(func() {
				answer, over := exchange(c, text)
				answer = strings.TrimPrefix(answer, "HTTP/1.1 505") // another version, which net/http refuses
				if !over || strings.Contains(answer, "HTTP/1.1 5") || strings.Contains(answer, "HTTP/1.1 2") {
					d.t.Errorf("%s to %s: over: %t, answered %.300q", name, where, over, answer)
				}
			})
		}
	}
	running.Wait()
}

// exchange sends a text, and reads until the other side is done with it: it has
// closed the connection or said something.
func exchange(c net.Conn, text string) (answer string, over bool) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	go func() { // it may be cut off in the middle
		_, _ = io.WriteString(c, text)
		if half, ok := c.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // else the rest of a body is waited for, see dripSlowly
		}
	}()
	b := make([]byte, 64<<10)
	n, err := bufio.NewReader(c).Read(b)
	var timeout net.Error
	return string(b[:n]), !errors.As(err, &timeout) || !timeout.Timeout()
}

// idleOnRaft opens far more connections to the members' port than it keeps; a member
// that is started meanwhile is let in.
func (d *portDays) idleOnRaft() {
	d.t.Helper()
	var files syscall.Rlimit
	require.NoError(d.t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files))
	var conns []net.Conn
	for range min(10_000, files.Cur/2) {
		c, err := new(net.Dialer).DialContext(d.t.Context(), "tcp", d.raft())
		require.NoError(d.t, err)
		conns = append(conns, c)
	}
	other := (d.leader + 1) % 3
	p := d.nodes.process(other)
	require.NoError(d.t, p.signal(syscall.SIGKILL))
	<-p.done
	_, err := d.nodes.restart(d.t.Context())
	require.NoError(d.t, err)
	d.awaitChecks(other, func(r wire.Readiness) bool { return r.Ready })
	for _, c := range conns {
		_ = c.Close()
	}
}

// awaitChecks waits until a node's readiness is as wanted.
func (d *portDays) awaitChecks(i int, wanted func(wire.Readiness) bool) {
	d.t.Helper()
	var r wire.Readiness
	require.Eventually(d.t, func() bool {
		r = wire.Readiness{}
		answer, _ := d.look(i, "/readyz")
		return json.Unmarshal(answer, &r) == nil && wanted(r)
	}, patience, 20*time.Millisecond, "%s: %+v", nodeName(i), &r)
}

// says is true for a readiness with this check and these words in it.
func says(check string, ok bool, words string) func(wire.Readiness) bool {
	return func(r wire.Readiness) bool {
		for _, c := range r.Checks {
			if c.Name == check {
				return c.Ok == ok && strings.Contains(c.Detail, words)
			}
		}
		return false
	}
}

// issue makes new certificates for both ports of a node, as if it were another time.
func (d *portDays) issue(i int, now time.Time, lifetime time.Duration) {
	d.t.Helper()
	authorities, err := pki.OpenFolder(filepath.Join(d.folder.path, "tls"), now)
	require.NoError(d.t, err)
	_, err = authorities.IssueNode(pki.Node{Name: nodeName(i), Hosts: []string{loopback}}, []string{"localhost"}, lifetime)
	require.NoError(d.t, err)
}

// expire lets the certificates of all nodes end while they run: that is said on both
// ports, and new certificates mend it.
func (d *portDays) expire() {
	d.t.Helper()
	for i := range 3 {
		d.issue(i, time.Now(), 4*time.Second)
	}
	for i := range 3 {
		d.awaitChecks(i, says("tls-api", false, "expired"))
		d.awaitChecks(i, says("tls-raft", false, "expired"))
	}
	out, err := d.keysteward(d.t, "keys", "list", "--timeout", "1s")
	require.Error(d.t, err)
	require.Contains(d.t, out, "expired", "a caller is told why")
	require.Eventually(d.t, func() bool {
		return strings.Contains(readText(d.t, d.site.log(d.leader)), "certificates are not valid")
	}, patience, 50*time.Millisecond)
	for i := range 3 {
		d.issue(i, time.Now(), time.Hour)
	}
	for i := range 3 {
		d.awaitChecks(i, func(r wire.Readiness) bool { return r.Ready })
	}
	d.leader, d.term = d.whoLeads() // one that nobody could connect to may have handed over
	d.bear("expired certificates", func() {})
}

// setClock gives a follower certificates that begin when its clock is not yet: while it
// runs it keeps those of before and says so; started with them it waits outside.
func (d *portDays) setClock() {
	d.t.Helper()
	behind := (d.leader + 2) % 3
	d.bear("a clock that is behind", func() {
		d.issue(behind, time.Now().Add(24*time.Hour), time.Hour)
		d.awaitChecks(behind, says("tls-raft", true, "is not valid before"))
		d.awaitChecks(behind, says("tls-api", true, "is not valid before"))
		p := d.nodes.process(behind)
		require.NoError(d.t, p.signal(syscall.SIGKILL))
		<-p.done
		_, err := d.nodes.restart(d.t.Context())
		require.NoError(d.t, err)
		d.awaitChecks(behind, says("tls-raft", false, "this machine's clock says"))
		d.awaitChecks(behind, says("tls-api", false, "this machine's clock says"))
		d.issue(behind, time.Now(), time.Hour)
		d.awaitChecks(behind, func(r wire.Readiness) bool { return r.Ready })
	})
}

// requireNothingSecret searches the logs for tokens and keys of certificates.
func (d *portDays) requireNothingSecret() {
	d.t.Helper()
	for i := range 3 {
		log, err := os.ReadFile(d.site.log(i))
		require.NoError(d.t, err)
		require.NotContains(d.t, string(log), "kst_")
		require.NotContains(d.t, string(log), "PRIVATE KEY")
		for _, s := range secretsOf(d.t, d.folder.path) {
			require.False(d.t, s.foundIn(log), "the %s is in the log of %s", s.name, nodeName(i))
		}
		require.False(d.t, bytes.Contains(log, []byte("panic")))
	}
}
