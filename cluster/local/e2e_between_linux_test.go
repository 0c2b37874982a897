package local

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/pki"
)

// between stands between clients and the real leader, with a certificate of the
// cluster's own authority: TLS does not help against it, only what is within does.
type between struct {
	*httptest.Server

	leader string
	mu     sync.Mutex
	attack attack
	saw    bytes.Buffer    // all that it could read
	first  wire.Allocation // the first answer that passed
}

// attack says what is done to what passes; nil functions do nothing.
type attack struct {
	request func(*wire.AllocationRequest)
	answer  func(a *wire.Allocation, earlier wire.Allocation)
	cluster func(*wire.Cluster)
	// elsewhere is where callers are redirected to.
	elsewhere string
}

// newBetween starts one on a name that the authority vouches for.
func newBetween(t *testing.T, s *site, name, leader string) *between {
	t.Helper()
	authorities, err := pki.OpenFolder(s.tls.folder, time.Now())
	require.NoError(t, err)
	own, err := authorities.IssueNode(pki.Node{Name: name, Hosts: []string{loopback}}, nil, time.Hour)
	require.NoError(t, err)
	certificate, err := tls.LoadX509KeyPair(filepath.Join(own, "api.crt"), filepath.Join(own, "api.key"))
	require.NoError(t, err)
	b := &between{leader: leader}
	b.Server = httptest.NewUnstartedServer(b)
	b.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}
	b.StartTLS()
	t.Cleanup(b.Close)
	return b
}

func (b *between) set(a attack) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attack = a
}

func (b *between) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	a, earlier := b.attack, b.first
	b.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	asksForKeys := r.Method == http.MethodPost && r.URL.Path == "/v1/allocations"
	b.note(body)
	if a.elsewhere != "" && asksForKeys {
		w.Header().Set("Location", a.elsewhere+r.URL.Path)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	if asksForKeys {
		body = altered(body, a.request)
	}
	status, answer := b.forward(r, body)
	b.note(answer)
	if status == http.StatusOK {
		switch {
		case r.URL.Path == "/v1/cluster":
			answer = altered(answer, a.cluster)
		case asksForKeys:
			var original wire.Allocation
			_ = json.Unmarshal(answer, &original)
			b.mu.Lock()
			if b.first.Pod == "" {
				b.first = original
			}
			b.mu.Unlock()
			if a.answer != nil {
				answer = altered(answer, func(now *wire.Allocation) { a.answer(now, earlier) })
			}
		}
	}
	w.Header().Set("Content-Type", asJSON)
	w.WriteHeader(status)
	_, _ = w.Write(answer) //nolint:gosec // what a node said, to a client that is no browser
}

func (b *between) note(text []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saw.Write(text)
	b.saw.WriteByte('\n')
}

func (b *between) forward(r *http.Request, body []byte) (int, []byte) {
	request, err := http.NewRequestWithContext(r.Context(), r.Method, b.leader+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return http.StatusBadGateway, nil
	}
	request.Header = r.Header.Clone()
	response, err := unverified.RoundTrip(request)
	if err != nil {
		return http.StatusBadGateway, nil
	}
	defer response.Body.Close()
	answer, _ := io.ReadAll(response.Body)
	return response.StatusCode, answer
}

// altered changes a JSON text as the type that it is of.
func altered[T any](text []byte, change func(*T)) []byte {
	var value T
	if change == nil || json.Unmarshal(text, &value) != nil {
		return text
	}
	change(&value)
	changed, err := json.Marshal(value)
	if err != nil {
		return nil // no client takes it
	}
	return changed
}

// attacksFail has a man in the middle try what he can on a pod that has its keys.
func (r *searched) attacksFail() {
	t := r.t
	t.Helper()
	leader := r.site.apiURL(r.leaderIndex())
	b := newBetween(t, r.site, "between", leader)
	stranger := newBetween(t, r.site, "stranger", leader)
	ask := func(name string) client.AllocateOptions {
		uid, _, _ := strings.Cut(readText(t, r.folder.in("pods", name, ".keysteward-pod-uid")), "\n")
		return client.AllocateOptions{Namespace: "default", Pod: name, PodUID: uid, Keys: 2}
	}
	own, other := ask("searched-0"), ask("searched-1")
	connect := func() *client.Client {
		c, err := r.site.newClient(r.site.tokens.Operator, b.URL)
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	honest, err := connect().AllocateKeys(t.Context(), own, nil)
	require.NoError(t, err, "what stands between them can also do nothing")
	requireAttacksFail(t, b, connect, own, other, honest.Allocation)
	requireCrossedAnswersFail(t, b, connect, own)

	b.set(attack{elsewhere: stranger.URL})
	_, err = connect().AllocateKeys(t.Context(), own, nil)
	require.NoError(t, err, "the members that the list named are asked instead")
	require.Empty(t, stranger.saw.String(), "the stranger was asked")

	b.set(attack{})
	b.mu.Lock()
	defer b.mu.Unlock()
	r.keepText("what stands between them saw", b.saw.String())
}

// attackOnWire is an attack, what was asked for, and what the client has to say.
type attackOnWire struct {
	attack

	asked client.AllocateOptions
	is    error
	says  string
}

// requireAttacksFail tries each of the attacks with a client of its own.
func requireAttacksFail(t *testing.T, b *between, connect func() *client.Client, own, other client.AllocateOptions, honest wire.Allocation) {
	t.Helper()
	_, weak, err := wire.NewRecipient(wire.KEMX25519)
	require.NoError(t, err)
	for name, c := range attacksOnWire(own, other, honest.Fence, weak) {
		b.set(c.attack)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		set, err := connect().AllocateKeys(ctx, c.asked, nil)
		cancel()
		require.Nil(t, set, name)
		require.ErrorIs(t, err, c.is, name)
		require.ErrorIs(t, err, client.ErrAnswer, name)
		require.ErrorContains(t, err, c.says, name)
	}
}

func attacksOnWire(own, other client.AllocateOptions, fence int64, weak wire.Recipient) map[string]attackOnWire {
	as := func(o client.AllocateOptions) func(*wire.AllocationRequest) {
		return func(r *wire.AllocationRequest) { r.Pod, r.PodUID = o.Pod, o.PodUID }
	}
	label := func(o client.AllocateOptions) func(*wire.Allocation, wire.Allocation) {
		return func(a *wire.Allocation, _ wire.Allocation) { a.Pod, a.PodUID = o.Pod, o.PodUID }
	}
	renamed, newer := own, own
	renamed.PodUID, newer.MinFence = "99999999-2222-4333-8444-555555555555", fence+1
	return map[string]attackOnWire{
		"answer of an earlier call": {attack{answer: func(a *wire.Allocation, earlier wire.Allocation) { *a = earlier }}, own, wire.ErrSealed, ""},
		"secrets of an earlier call": {
			attack{answer: func(a *wire.Allocation, earlier wire.Allocation) { a.Secrets = earlier.Secrets }}, own, wire.ErrSealed, "",
		},
		"answer for another pod":                 {attack{request: as(other)}, own, client.ErrAnswer, "it is for pod default/" + other.Pod},
		"answer for another pod, under our name": {attack{request: as(other), answer: label(own)}, own, wire.ErrSealed, ""},
		"answer for another UID":                 {attack{request: as(own)}, renamed, client.ErrAnswer, "it is for pod"},
		"answer for another UID, under our name": {attack{request: as(own), answer: label(renamed)}, renamed, wire.ErrSealed, ""},
		"answer of another cluster":              {attack{cluster: func(c *wire.Cluster) { c.ClusterID = "another" }}, own, client.ErrAnswer, "asked was \"another\""},
		"answer of another cluster, under its name": {attack{
			cluster: func(c *wire.Cluster) { c.ClusterID = "another" },
			answer:  func(a *wire.Allocation, _ wire.Allocation) { a.ClusterID = "another" },
		}, own, wire.ErrSealed, ""},
		"older fence":                   {attack{}, newer, client.ErrAnswer, "was seen before"},
		"older fence, with a newer one": {attack{answer: func(a *wire.Allocation, _ wire.Allocation) { a.Fence++ }}, newer, client.ErrAnswer, "the secrets are of fence"},
		"X25519 where ML-KEM was asked": {attack{request: func(r *wire.AllocationRequest) { r.Recipient = weak }}, own, wire.ErrSealed, "KEM 32, the key is of 25722"},
		"X25519 that says it is ML-KEM": {attack{
			request: func(r *wire.AllocationRequest) { r.Recipient = weak },
			answer:  func(a *wire.Allocation, _ wire.Allocation) { a.Secrets.Kem = int(wire.KEMMLKEM768X25519) },
		}, own, wire.ErrSealed, ""},
	}
}

// requireCrossedAnswersFail has two calls of one pod get each other's answers.
func requireCrossedAnswersFail(t *testing.T, b *between, connect func() *client.Client, own client.AllocateOptions) {
	t.Helper()
	there, back := make(chan wire.Allocation), make(chan wire.Allocation)
	b.set(attack{answer: func(a *wire.Allocation, _ wire.Allocation) {
		mine := *a
		select {
		case there <- mine:
			*a = <-back
		case *a = <-there:
			back <- mine
		}
	}})
	ends := make(chan error, 2)
	for range 2 {
		c := connect()
		go func() {
			_, err := c.AllocateKeys(t.Context(), own, nil)
			ends <- err
		}()
	}
	for range 2 {
		require.ErrorIs(t, <-ends, wire.ErrSealed)
	}
}
