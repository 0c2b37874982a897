package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
	"github.com/keysteward/keysteward/node/backup"
)

// restores is a cluster of two, whose second node leads and takes a backup.
func restores(t *testing.T, answer func(w http.ResponseWriter)) (cluster *clienttest.Cluster, got *[]byte, query *string) {
	t.Helper()
	cluster = clienttest.Start(t, 2)
	got, query = new([]byte), new(string)
	cluster.Intercept = func(node int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || r.URL.Path != "/v1/snapshot" {
			return false
		}
		if node == 0 {
			w.Header().Set("Location", cluster.URLs()[1]+r.URL.RequestURI())
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}
		if r.Header.Get("Content-Type") == backup.MediaType {
			*got, _ = io.ReadAll(r.Body)
		}
		*query = r.URL.RawQuery
		answer(w)
		return true
	}
	return cluster, got, query
}

func restoredAnswer(w http.ResponseWriter) {
	_ = json.NewEncoder(w).Encode(wire.RestoredBackup{ //nolint:errchkjson // a time that encodes
		Number: 1, ClusterID: "c1", Index: 42, MadeAt: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), ReplacedCluster: clienttest.ClusterID, ReplacedIndex: 99,
	})
}

func TestRestore(t *testing.T) {
	t.Parallel()
	file, _ := backupFile(t)
	path := writeFile(t, string(file))
	cluster, sent, query := restores(t, restoredAnswer)
	got := at(cluster).run(t, "restore", path, "--yes", "--replace-cluster", clienttest.ClusterID, "--force-older")
	require.Zero(t, got.code, got.err)
	require.Equal(t, file, *sent)
	require.Equal(t, "forceOlder=true&replaceCluster="+clienttest.ClusterID, *query)
	require.Contains(t, got.out, "cluster c1 is as it was at 2026-11-22 12:00:00Z (index 42); "+clienttest.ClusterID+" was given up at index 99")
	require.Contains(t, got.out, "keysteward restore confirm")
	require.Contains(t, got.err, "Given up: everything that cluster "+clienttest.ClusterID)

	got = at(cluster).run(t, "restore", path, "--yes", "-q")
	require.Zero(t, got.code, got.err)
	require.Empty(t, got.out+got.err)
	require.Empty(t, *query)
}

func TestRestoreAsks(t *testing.T) {
	t.Parallel()
	file, _ := backupFile(t)
	path := writeFile(t, string(file))
	for answer, goes := range map[string]bool{"restore\n": true, "yes\n": false, "\n": false, "": false, "RESTORE\n": false} {
		cluster, sent, _ := restores(t, restoredAnswer)
		sh := at(cluster)
		sh.terminal, sh.stdin = true, strings.NewReader(answer)
		got := sh.run(t, "restore", path)
		require.Equal(t, goes, got.code == ExitOK, "%q: %s", answer, got.err)
		require.Equal(t, goes, len(*sent) > 0)
	}
	cluster, sent, _ := restores(t, restoredAnswer)
	require.Equal(t, ExitUsage, at(cluster).run(t, "restore", path).code, "nobody is there to ask")
	require.Empty(t, *sent)
}

func TestRestoreFails(t *testing.T) {
	t.Parallel()
	file, _ := backupFile(t)
	path := writeFile(t, string(file))
	refusing, _, _ := restores(t, func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusConflict)
		_ = json.NewEncoder(w).Encode(wire.Problem{Type: "older-backup", Title: "x", Status: 409, Detail: "3 keys would be lost"})
	})
	got := at(refusing).run(t, "restore", path, "--yes")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "3 keys would be lost")

	var tries atomic.Int64
	breaking, _, _ := restores(t, func(http.ResponseWriter) {
		tries.Add(1)
		panic(http.ErrAbortHandler)
	})
	got = at(breaking).run(t, "restore", path, "--yes")
	require.Equal(t, ExitUnknown, got.code)
	require.NotContains(t, got.err, "is safe")
	require.Contains(t, got.err, "restore status")
	require.EqualValues(t, 1, tries.Load(), "what may have happened is not repeated")

	cluster, sent, _ := restores(t, restoredAnswer)
	require.Equal(t, ExitFailure, at(cluster).run(t, "restore", writeFile(t, string(file[:len(file)-1])), "--yes").code)
	require.Equal(t, ExitFailure, at(cluster).run(t, "restore", filepath.Join(t.TempDir(), "none"), "--yes").code)
	require.Equal(t, ExitUsage, at(cluster).run(t, "restore", "--yes").code)
	require.Empty(t, *sent, "a damaged file is not sent")
}
