package api

import (
	"bytes"
	"errors"
	"mime"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/backup"
	"github.com/keysteward/keysteward/node/backup/schedule"
	"github.com/keysteward/keysteward/node/seal"
)

// unsealed opens the keyring of the node's state, which is made if there is none.
func (h *harness) unsealed(kek seal.KEK) *seal.Vault {
	h.Helper()
	if h.node.View().Secret(fsm.SecretKeyring) == nil {
		h.installKeyring(kek)
	}
	v := seal.NewVault(nil, kek)
	require.NoError(h, v.Open(h.Context(), h.node.View()))
	h.server.cfg.Seal = v
	return v
}

// sealing is a harness whose cluster has a keyring, and then a seed.
func sealing(t *testing.T) (*harness, *seal.Vault) {
	t.Helper()
	h := newHarness(t)
	kek, _ := kekOf(t, h, "a")
	v := h.unsealed(kek)
	h.propose(&fsmpb.Command{Body: &fsmpb.Command_InstallSeed{
		InstallSeed: &fsmpb.InstallSeed{Sealed: []byte{0, 0, 0, 1, 9}, Fingerprint: testSeed().Fingerprint()},
	}})
	return h, v
}

// snapshot fetches a backup and checks it by the key.
func (h *harness) snapshot(v *seal.Vault, target string) (backup.Manifest, []byte) {
	h.Helper()
	w := h.do(RoleAdmin, http.MethodGet, target, "")
	require.Equal(h, http.StatusOK, w.Code, w.Body)
	require.Equal(h, backup.MediaType, w.Header().Get("Content-Type"))
	require.Equal(h, "no-store", w.Header().Get("Cache-Control"))
	head, err := backup.ReadHeader(bytes.NewReader(w.Body.Bytes()))
	require.NoError(h, err)
	_, named, err := mime.ParseMediaType(w.Header().Get("Content-Disposition"))
	require.NoError(h, err)
	require.Equal(h, head.Name(), named["filename"])
	key, err := v.OpenBackup(h.Context(), &head.Manifest)
	require.NoError(h, err)
	m, _, err := backup.Verify(bytes.NewReader(w.Body.Bytes()), &key)
	require.NoError(h, err)
	return m, w.Body.Bytes()
}

// requireOnRecord finds the admin's act as the newest record.
func (h *harness) requireOnRecord(action, object string) {
	h.Helper()
	view := h.node.View()
	for a := range view.Audit(view.Meta().GetNextAudit()) {
		require.Equal(h, []string{"the-admin", action, object, "done"}, []string{a.GetCaller().GetName(), a.GetAction(), a.GetObject(), a.GetOutcome()})
		require.NotEmpty(h, a.GetRequestId())
		return
	}
	require.Fail(h, "no record")
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	h, v := sealing(t)
	h.held("web", "u1", 3)
	h.propose(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	barriers, before := h.node.barriers, h.node.View()
	m, file := h.snapshot(v, "/v1/snapshot")
	require.Equal(t, barriers+1, h.node.barriers, "what was acknowledged is in it")
	require.Equal(t, "cluster-1", m.ClusterID)
	require.Equal(t, before.Meta().GetAppliedIndex(), m.Index)
	require.Equal(t, backup.Counts{Keys: 3, Held: 3, Allocations: 1, Deposits: 3}, m.Counts)
	require.Equal(t, "node-a", m.Node)
	require.Equal(t, "v-test", m.Program)
	require.Contains(t, h.log.String(), m.FileID, "who had it is in the log")
	h.requireOnRecord("backup.make", m.FileID)

	// The stream is the state.
	key, err := v.OpenBackup(t.Context(), &m)
	require.NoError(t, err)
	in := bytes.NewReader(file)
	head, err := backup.ReadHeader(in)
	require.NoError(t, err)
	r, err := backup.NewReader(in, head, &key)
	require.NoError(t, err)
	again := fsm.New()
	require.NoError(t, again.Restore(r))
	require.Equal(t, before.Hash(), again.View().Hash())

	h.node.mu.Lock()
	h.node.onPropose = func(func() (any, error)) (any, error) { return nil, node.ErrUnknownOutcome }
	h.node.mu.Unlock()
	w := h.do(RoleAdmin, http.MethodGet, "/v1/snapshot", "")
	requireProblem(t, w, kinds[outcomeUnknown].status, outcomeUnknown, "")
	require.Empty(t, h.server.snapshots, "and its place is free")
}

func TestSnapshotOfAFollower(t *testing.T) {
	t.Parallel()
	h, v := sealing(t)
	h.node.follow("node-b", "https://b.example:7400")
	w := h.do(RoleAdmin, http.MethodGet, "/v1/snapshot", "")
	requireProblem(t, w, http.StatusTemporaryRedirect, notLeader, "")
	require.Equal(t, "https://b.example:7400/v1/snapshot", w.Header().Get("Location"))
	barriers := h.node.barriers
	m, _ := h.snapshot(v, "/v1/snapshot?consistency=stale")
	require.Equal(t, barriers, h.node.barriers)
	require.Equal(t, h.node.View().Meta().GetAppliedIndex(), m.Index)
}

// A file that nobody could authenticate is none.
func TestSnapshotOfASealedNode(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.vault.sealUp("no key")
	requireProblem(t, h.do(RoleAdmin, http.MethodGet, "/v1/snapshot", ""), http.StatusServiceUnavailable, sealed, "")
	requireProblem(t, h.do(RoleAdmin, http.MethodGet, "/v1/snapshot?consistency=stale", ""), http.StatusServiceUnavailable, sealed, "")
}

func (h *harness) snapshotRequest(method string) *http.Request {
	r := httptest.NewRequestWithContext(h.Context(), method, "/v1/snapshot", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+h.tokens[RoleAdmin])
	return r
}

// brokenWriter takes so many bytes.
type brokenWriter struct {
	*httptest.ResponseRecorder
	room int
}

var errGone = errors.New("the reader went away")

func (b *brokenWriter) Write(p []byte) (int, error) {
	if b.room -= len(p); b.room < 0 {
		return 0, errGone
	}
	return b.ResponseRecorder.Write(p) //nolint:wrapcheck // a test's
}

// One that breaks off has no end, and leaves its place to others.
func TestSnapshotThatBreaksOff(t *testing.T) {
	t.Parallel()
	h, v := sealing(t)
	h.held("web", "u1", 100)
	for range maxSnapshots + 1 {
		w := &brokenWriter{httptest.NewRecorder(), 40_000}
		h.server.Handler().ServeHTTP(w, h.snapshotRequest(http.MethodGet))
		_, _, err := backup.Verify(bytes.NewReader(w.Body.Bytes()), nil)
		require.ErrorIs(t, err, backup.ErrTruncated)
	}
	require.Contains(t, h.log.String(), "whole=false")
	for range maxSnapshots + 1 { // nor does a HEAD take one
		w := httptest.NewRecorder()
		h.server.Handler().ServeHTTP(w, h.snapshotRequest(http.MethodHead))
		require.Equal(t, http.StatusOK, w.Code)
		require.Empty(t, w.Body.Bytes())
	}
	h.snapshot(v, "/v1/snapshot")
}

// stuckWriter waits until it may go on.
type stuckWriter struct {
	*httptest.ResponseRecorder
	here, on chan struct{}
}

func (s *stuckWriter) Write(p []byte) (int, error) {
	select {
	case s.here <- struct{}{}:
		<-s.on
	case <-s.on:
	}
	return s.ResponseRecorder.Write(p) //nolint:wrapcheck // a test's
}

func TestSnapshotsAtATime(t *testing.T) {
	t.Parallel()
	h, v := sealing(t)
	h.held("web", "u1", 100) // more than fits into a buffer
	here, on, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	for range maxSnapshots {
		go func() {
			h.server.Handler().ServeHTTP(&stuckWriter{httptest.NewRecorder(), here, on}, h.snapshotRequest(http.MethodGet))
			done <- struct{}{}
		}()
		<-here
	}
	requireProblem(t, h.do(RoleAdmin, http.MethodGet, "/v1/snapshot", ""), http.StatusServiceUnavailable, overloaded, "")
	close(on)
	for range maxSnapshots {
		<-done
	}
	h.snapshot(v, "/v1/snapshot")
}

func TestBackupStatus(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	require.Equal(t, wire.Backups{Node: "node-a"}, read[wire.Backups](t, h.get("/v1/backups")))
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	h.server.cfg.Backups = func() schedule.Status {
		return schedule.Status{
			To: "s3://b/p", Every: time.Hour, Keep: 7, Next: at.Add(time.Hour), Last: schedule.Entry{Name: "x", MadeAt: at, Bytes: 9},
			Failures: 2, Code: schedule.ReasonDenied, Detail: "no",
		}
	}
	require.Equal(t, wire.Backups{
		Scheduled: true, Node: "node-a", To: "s3://b/p", EverySeconds: 3600, Keep: 7, Next: at.Add(time.Hour),
		Last: wire.ScheduledBackup{Name: "x", MadeAt: at, Bytes: 9}, Failures: 2, Reason: wire.Reason{Code: "denied", Detail: "no"},
	}, read[wire.Backups](t, h.get("/v1/backups")))
	h.node.follow("node-b", "https://b.example:7400")
	requireProblem(t, h.get("/v1/backups"), http.StatusTemporaryRedirect, notLeader, "")
}
