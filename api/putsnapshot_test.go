package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/backup"
	"github.com/keysteward/keysteward/node/backup/restoring"
	"github.com/keysteward/keysteward/node/seal"
)

// restorable is a sealing harness that restores backups.
func restorable(t *testing.T) (h *harness, v *seal.Vault, folder string) {
	t.Helper()
	h, v = sealing(t)
	folder = t.TempDir()
	h.server.cfg.Restorer = restoring.New(folder, nil)
	h.propose(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	return h, v, folder
}

// restore puts a file back.
func (h *harness) restore(file []byte, query string) *httptest.ResponseRecorder {
	h.Helper()
	return h.do(RoleAdmin, http.MethodPut, "/v1/snapshot"+query, string(file), header("Content-Type", backup.MediaType))
}

func TestRestore(t *testing.T) {
	t.Parallel()
	h, v, folder := restorable(t)
	h.held("web", "u1", 2)
	m, file := h.snapshot(v, "/v1/snapshot")
	h.held("db", "u1", 1)
	before := h.node.View().Meta().GetAppliedIndex()

	w := h.restore(file, "")
	p := requireProblem(t, w, http.StatusConflict, olderBackup, "")
	require.Contains(t, p.Detail, "3 keys")
	require.Contains(t, p.Detail, "(--force-older, ?forceOlder=true)", "what a person and a program have to say")
	require.Equal(t, before, h.node.View().Meta().GetAppliedIndex(), "nothing was proposed")

	w = h.restore(file, "?forceOlder=true")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, wire.RestoredBackup{
		Number: 1, ClusterID: "cluster-1", Index: int64(m.Index), MadeAt: m.MadeAt, ReplacedCluster: "cluster-1", ReplacedIndex: int64(before),
	}, read[wire.RestoredBackup](t, w))
	view := h.node.View()
	require.True(t, view.RestoreOpen())
	require.Nil(t, view.Allocation("default", "db"), "what came after is gone")
	require.NotNil(t, view.Allocation("default", "web"))
	require.Nil(t, view.Meta().GetStaging())
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestRestoreIntoAnotherCluster(t *testing.T) {
	t.Parallel()
	h, v, _ := restorable(t)
	h.held("web", "u1", 2)
	_, file := h.snapshot(v, "/v1/snapshot")

	to, _, _ := restorable(t)
	to.node.machine = fsm.New()
	to.node.index = 0
	_, err := to.node.apply(&fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "node-a", NewClusterId: "cluster-2"}}})
	require.NoError(t, err)
	to.propose(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	p := requireProblem(t, to.restore(file, "?replaceCluster=cluster-9"), http.StatusConflict, otherCluster, "")
	require.Contains(t, p.Detail, "(--replace-cluster ID, ?replaceCluster=ID)")
	to.server.cfg.Seal = v // which has the key-encryption key
	w := to.restore(file, "")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, "cluster-1", to.node.View().Meta().GetClusterId())
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	h, v, folder := restorable(t)
	h.held("web", "u1", 2)
	_, file := h.snapshot(v, "/v1/snapshot")
	other, otherVault := sealing(t)
	foreignKEK, _ := kekOf(t, other, "b")
	altered := bytes.Clone(file)
	altered[len(altered)/2] ^= 1
	forged := bytes.Replace(bytes.Clone(file), []byte(`"held":2`), []byte(`"held":0`), 1)
	require.NotEqual(t, file, forged)
	_ = otherVault
	for name, c := range map[string]struct {
		file   []byte
		query  string
		vault  Seal
		kind   kind
		status int
	}{
		"text":            {[]byte(strings.Repeat("no backup", 9)), "", v, notABackup, 400},
		"cut off":         {file[:len(file)-1], "?forceOlder=true", v, damagedBackup, 422},
		"altered":         {altered, "?forceOlder=true", v, damagedBackup, 422},
		"forged manifest": {forged, "?forceOlder=true", v, damagedBackup, 422},
		"more behind":     {append(bytes.Clone(file), 1), "?forceOlder=true", v, damagedBackup, 422},
		"newer":           {append([]byte("keysteward backup 2\n"), file[20:]...), "", v, newerBackup, 409},
		"another key":     {file, "?forceOlder=true", seal.NewVault(nil, foreignKEK), foreignBackup, 409},
		"no key":          {file, "?forceOlder=true", seal.NewVault(nil), foreignBackup, 409},
		"older":           {file, "?forceOlder=false", v, olderBackup, 409},
		"wrong cluster":   {file, "?forceOlder=true&replaceCluster=x", v, otherCluster, 409},
		"wrong flag":      {file, "?forceOlder=perhaps", v, invalidField, 400},
	} {
		h.server.cfg.Seal = c.vault
		before := h.node.View().Hash()
		field := map[bool]string{true: "forceOlder"}[c.kind == invalidField]
		w := h.restore(c.file, c.query)
		require.Equal(t, c.status, w.Code, name)
		requireProblem(t, w, c.status, c.kind, field)
		require.Equal(t, before, h.node.View().Hash(), name)
		left, err := os.ReadDir(folder)
		require.NoError(t, err)
		require.Empty(t, left, name)
	}
	h.server.cfg.Seal = v
	requireProblem(t, h.do(RoleAdmin, http.MethodPut, "/v1/snapshot", "{}"), http.StatusUnsupportedMediaType, unsupportedMedia, "Content-Type")
}

// An outcome that is not known is told as such; what was staged is freed where that can be.
func TestRestoreOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	h, v, _ := restorable(t)
	h.held("web", "u1", 2)
	_, file := h.snapshot(v, "/v1/snapshot")
	h.node.onPropose = func(apply func() (any, error)) (any, error) {
		_, _ = apply()
		return nil, node.ErrUnknownOutcome
	}
	before := h.node.View().Meta().GetRestore()
	p := requireProblem(t, h.restore(file, "?forceOlder=true"), http.StatusServiceUnavailable, noLeader, "")
	require.Contains(t, p.Detail, "the state is what it was", "of a part that is not known nothing comes")
	require.Equal(t, before, h.node.View().Meta().GetRestore())

	calls := 0
	h.node.onPropose = func(apply func() (any, error)) (any, error) {
		value, err := apply()
		if calls++; calls == 2 { // the end is looked for in the state
			return nil, node.ErrUnknownOutcome
		}
		return value, err
	}
	w := h.restore(file, "?forceOlder=true")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, int64(1), read[wire.RestoredBackup](t, w).Number)

	h.node.onPropose = func(func() (any, error)) (any, error) { return nil, node.ErrNotLeader }
	requireProblem(t, h.restore(file, "?forceOlder=true"), http.StatusServiceUnavailable, noLeader, "")
}

// Whoever restores again what was restored gives up what happened since: he is told to look.
func TestRestoreOfUnknownOutcomeIsNotRepeated(t *testing.T) {
	t.Parallel()
	var p *problem
	require.ErrorAs(t, restoreProblem(fmt.Errorf("finish the restore: %w", node.ErrUnknownOutcome)), &p)
	require.Equal(t, outcomeUnknown, p.kind)
	require.Contains(t, p.detail, "GET /v1/restore")
	require.NotContains(t, p.detail, "safe")
}

// A cluster of which not all members know how to restore says so.
func TestRestoreBelowItsLevel(t *testing.T) {
	t.Parallel()
	h, v := sealing(t)
	h.server.cfg.Restorer = restoring.New(t.TempDir(), nil)
	_, file := h.snapshot(v, "/v1/snapshot")
	requireProblem(t, h.restore(file, "?forceOlder=true"), http.StatusConflict, featureLevel, "")
}

// A follower sends the caller on before it reads the file.
func TestRestoreOnAFollower(t *testing.T) {
	t.Parallel()
	h, v, folder := restorable(t)
	_, file := h.snapshot(v, "/v1/snapshot")
	h.node.follow("node-b", "https://b.example:7400")
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPut, "/v1/snapshot?forceOlder=true", &untouched{T: t, Reader: bytes.NewReader(file)}) //nolint:usetesting // as h.do has it
	r.Header.Set("Authorization", "Bearer "+h.tokens[RoleAdmin])
	w := httptest.NewRecorder()
	h.server.Handler().ServeHTTP(w, r)
	require.Equal(t, http.StatusTemporaryRedirect, w.Code)
	require.Equal(t, "https://b.example:7400/v1/snapshot?forceOlder=true", w.Header().Get("Location"))
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Empty(t, left)
}

type untouched struct {
	*testing.T
	*bytes.Reader
}

func (u *untouched) Read([]byte) (int, error) {
	u.Error("the body was read")
	return 0, nil
}
