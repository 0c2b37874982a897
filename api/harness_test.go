package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness is a server on a fake node. Every answer is held against openapi.yaml.
type harness struct {
	*testing.T
	node   *fakeNode
	vault  *fakeVault
	server *Server
	tokens map[Role]string
	log    *lockedBuffer
	remote string
	visits int
}

func newHarness(t *testing.T, change ...func(*Config)) *harness {
	t.Helper()
	h := &harness{T: t, node: newFakeNode(), tokens: make(map[Role]string), log: &lockedBuffer{}, remote: "192.0.2.1:1234"}
	h.vault = &fakeVault{node: h.node, seed: testSeed()}
	cfg := Config{
		Node: h.node, Vault: h.vault, Seal: seal.NewVault(nil), Clouds: &fakeClouds{node: h.node, vault: h.vault}, Tokens: h.tokenFile(), Witness: WitnessNone, MaxKeysPerPod: 100, Version: "v-test",
		Logger: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	h.server, err = New(cfg)
	require.NoError(t, err)
	t.Cleanup(h.server.stop)
	return h
}

func (h *harness) tokenFile() *Tokens {
	h.Helper()
	var file tokenFile
	for _, role := range []Role{RoleAdmin, RoleOperator, RoleViewer} {
		token, hash := NewToken()
		h.tokens[role] = token
		file.Tokens = append(file.Tokens, tokenEntry{Name: "the-" + string(role), Role: role, SHA256: hash})
	}
	data, err := json.Marshal(file)
	require.NoError(h, err)
	path := filepath.Join(h.TempDir(), "tokens.json")
	require.NoError(h, os.WriteFile(path, data, 0o600))
	tokens, err := OpenTokens(path, nil)
	require.NoError(h, err)
	return tokens
}

// seeded is a harness whose cluster has the test seed.
func seeded(t *testing.T, change ...func(*Config)) *harness {
	t.Helper()
	h := newHarness(t, change...)
	require.NoError(t, h.node.installSeed(testSeed().Fingerprint()))
	return h
}

type requestOption func(*http.Request)

func header(name, value string) requestOption {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func within(ctx context.Context) requestOption {
	return func(r *http.Request) { *r = *r.WithContext(ctx) }
}

// do sends a request as a role ("" is nobody) and checks the answer's form.
func (h *harness) do(role Role, method, target, body string, options ...requestOption) *httptest.ResponseRecorder {
	h.Helper()
	r := httptest.NewRequestWithContext(context.Background(), method, target, strings.NewReader(body))
	r.RemoteAddr = h.remote
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if role != "" {
		r.Header.Set("Authorization", "Bearer "+h.tokens[role])
	}
	for _, o := range options {
		o(r)
	}
	w := httptest.NewRecorder()
	h.server.Handler().ServeHTTP(w, r)
	if w.Code != statusClientGone {
		requireConforms(h.T, r, w)
	}
	return w
}

func (h *harness) get(target string, options ...requestOption) *httptest.ResponseRecorder {
	h.Helper()
	return h.do(RoleViewer, http.MethodGet, target, "", options...)
}

// allocate posts a request without a recipient for the pod default/<pod>.
func (h *harness) allocate(pod, uid string, keys int64, query string) *httptest.ResponseRecorder {
	h.Helper()
	return h.post(wire.AllocationRequest{Namespace: "default", Pod: pod, PodUID: uid, Keys: keys}, query)
}

func (h *harness) post(body wire.AllocationRequest, query string, options ...requestOption) *httptest.ResponseRecorder {
	h.Helper()
	data, err := json.Marshal(body)
	require.NoError(h, err)
	return h.do(RoleOperator, http.MethodPost, "/v1/allocations"+query, string(data), options...)
}

// held gives the pod its keys, deposits and all.
func (h *harness) held(pod, uid string, keys int64) wire.Allocation {
	h.Helper()
	require.Equal(h, http.StatusAccepted, h.allocate(pod, uid, keys, "").Code)
	h.node.finish()
	w := h.allocate(pod, uid, keys, "")
	require.Equal(h, http.StatusOK, w.Code, w.Body)
	return read[wire.Allocation](h.T, w)
}

func read[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	d := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&v), w.Body.String())
	return v
}

// requireProblem checks status, type and field of a problem.
func requireProblem(t *testing.T, w *httptest.ResponseRecorder, status int, k kind, field string) wire.Problem {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body.String())
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	p := read[wire.Problem](t, w)
	require.Equal(t, string(k), p.Type, p.Detail)
	require.Equal(t, field, p.Field, p.Detail)
	require.Equal(t, status, p.Status)
	require.NotEmpty(t, p.Title)
	require.NotEmpty(t, p.Detail)
	require.Equal(t, w.Header().Get("X-Request-Id"), p.RequestID)
	return p
}

var _ io.Writer = (*lockedBuffer)(nil)
