package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
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

// backupFile is a backup as a cluster would make it.
func backupFile(t *testing.T) (file []byte, m *backup.Manifest) {
	t.Helper()
	m = &backup.Manifest{
		FileID: backup.NewFileID(), ClusterID: "c1", MadeAt: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Node: "n1", Program: "v1",
		Index: 42, Term: 3, SnapshotFormat: 1, FeatureLevel: 1, Keyring: []byte("keyring"), Counts: backup.Counts{Keys: 9, Held: 4},
	}
	key, err := backup.NewKey(bytes.Repeat([]byte{1}, 32), m.ClusterID, m.FileID)
	require.NoError(t, err)
	var out bytes.Buffer
	w, err := backup.NewWriter(&out, key, m)
	require.NoError(t, err)
	_, err = w.Write(bytes.Repeat([]byte("state "), 100_000))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes(), m
}

// servesBackup is a cluster whose answers to the first requests break off.
func servesBackup(t *testing.T, file []byte, name string, breaks int) (*clienttest.Cluster, *atomic.Int32) {
	t.Helper()
	cluster := clienttest.Start(t, 1)
	var asked atomic.Int32
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/snapshot" {
			return false
		}
		n := int(asked.Add(1))
		w.Header().Set("Content-Type", backup.MediaType)
		w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
		if n > breaks {
			_, _ = w.Write(file)
			return true
		}
		_, _ = w.Write(file[:len(file)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	return cluster, &asked
}

// onlyFile is the one file of a folder, hidden ones counted.
func onlyFile(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, list, 1)
	return filepath.Join(dir, list[0].Name())
}

func TestBackup(t *testing.T) {
	t.Parallel()
	file, m := backupFile(t)
	cluster, _ := servesBackup(t, file, m.Name(), 0)
	dir := t.TempDir()
	out := filepath.Join(dir, "it.ksbackup")
	require.NoError(t, os.WriteFile(out, []byte("an older one"), 0o600))
	got := at(cluster).run(t, "backup", "--output", out)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, out+": 0.6 MB, cluster c1 at index 42, 2026-11-22T12:00:00Z: 9 keys, 4 of them held")
	written, err := os.ReadFile(onlyFile(t, dir))
	require.NoError(t, err)
	require.True(t, bytes.Equal(file, written))
	info, err := os.Stat(out)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	got = at(cluster).run(t, "backup", "-o", "-", "-q")
	require.Zero(t, got.code, got.err)
	require.True(t, bytes.Equal(file, []byte(got.out)))
	require.Empty(t, got.err)
}

// A try that breaks off is begun anew; into a pipe it can not be.
func TestBackupThatBreaksOff(t *testing.T) {
	t.Parallel()
	file, m := backupFile(t)
	dir := t.TempDir()
	cluster, asked := servesBackup(t, file, m.Name(), 2)
	got := at(cluster).run(t, "backup", "--output", filepath.Join(dir, "x"))
	require.Zero(t, got.code, got.err)
	require.Equal(t, int32(3), asked.Load())
	written, err := os.ReadFile(onlyFile(t, dir))
	require.NoError(t, err)
	require.True(t, bytes.Equal(file, written))

	cluster, _ = servesBackup(t, file, m.Name(), 1)
	got = at(cluster).run(t, "backup", "--output", "-")
	require.NotZero(t, got.code)
	require.Contains(t, got.err, errOnce.Error())
}

// What arrives damaged leaves no file, and an older one as it is.
func TestBackupThatArrivesDamaged(t *testing.T) {
	t.Parallel()
	file, m := backupFile(t)
	bad := bytes.Clone(file)
	bad[len(bad)/2] ^= 1
	for name, sent := range map[string][]byte{"damaged": bad, "cut off": file[:len(file)-1], "nonsense": []byte("<html>"), "nothing": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, _ := servesBackup(t, sent, m.Name(), 0)
			dir := t.TempDir()
			out := filepath.Join(dir, "x")
			require.NoError(t, os.WriteFile(out, []byte("older"), 0o600))
			require.Equal(t, ExitFailure, at(cluster).run(t, "backup", "--output", out).code)
			kept, err := os.ReadFile(onlyFile(t, dir))
			require.NoError(t, err)
			require.Equal(t, "older", string(kept))
			require.Equal(t, ExitFailure, at(cluster).run(t, "backup", "--output", "-").code)
		})
	}
}

func TestBackupRefuses(t *testing.T) {
	t.Parallel()
	file, m := backupFile(t)
	cluster, asked := servesBackup(t, file, m.Name(), 0)
	for _, form := range outputs {
		require.Equal(t, ExitUsage, at(cluster).run(t, "backup", "--output", form).code)
	}
	sh := at(cluster)
	sh.terminal = true
	require.Equal(t, ExitUsage, sh.run(t, "backup", "--output", "-").code)
	require.Zero(t, asked.Load())
	require.Equal(t, ExitFailure, at(cluster).run(t, "backup", "--output", filepath.Join(t.TempDir(), "no", "folder")).code)
	require.Equal(t, int32(1), asked.Load(), "a disk of ours is mended by no other server")
	for _, name := range []string{"../" + m.Name(), "evil", "", "/etc/" + m.Name()} {
		cluster, _ := servesBackup(t, file, name, 0)
		got := at(cluster).run(t, "backup") // would write into the folder of this test
		require.Equal(t, ExitFailure, got.code)
		require.Contains(t, got.err, "it calls the backup")
	}
}

func TestBackupVerifyAndShow(t *testing.T) {
	t.Parallel()
	file, _ := backupFile(t)
	path := writeFile(t, string(file))
	sh := shell{}
	got := sh.run(t, "backup", "verify", path)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "whole and undamaged")
	require.Contains(t, got.out, "c1")
	got = sh.run(t, "backup", "show", path, "-o", "json")
	require.Zero(t, got.code, got.err)
	var state backupState
	require.NoError(t, json.Unmarshal([]byte(got.out), &state))
	require.Equal(t, uint64(42), state.Index)
	require.False(t, state.Whole)
	sh.stdin = bytes.NewReader(file)
	require.Zero(t, sh.run(t, "backup", "verify", "-").code)
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"cut off": {string(file[:len(file)-40]), backup.ErrTruncated}, "text": {strings.Repeat("x", 100), backup.ErrNotABackup},
		"newer":   {"keysteward backup 9\n" + string(file[20:]), backup.ErrNewer},
		"altered": {string(file[:5000]) + "?" + string(file[5001:]), backup.ErrDamaged},
	} {
		got := sh.run(t, "backup", "verify", writeFile(t, c.text))
		require.Equal(t, ExitFailure, got.code, name)
		require.Contains(t, got.err, c.want.Error(), name)
	}
	require.Equal(t, ExitUsage, sh.run(t, "backup", "verify").code)
	require.Equal(t, ExitFailure, sh.run(t, "backup", "show", "/nowhere").code)
}

func TestBackupStatus(t *testing.T) {
	t.Parallel()
	at0 := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		state wire.Backups
		want  []string
	}{
		"none":  {wire.Backups{Node: "n1"}, []string{"n1, makes no backups"}},
		"fresh": {wire.Backups{Node: "n1", Scheduled: true, To: "/srv", EverySeconds: 3600}, []string{"1h0m0s", "none is known", "KEPT   all"}},
		"failing": {wire.Backups{
			Node: "n1", Scheduled: true, To: "s3://b/p", EverySeconds: 60, Keep: 3, Next: at0, Last: wire.ScheduledBackup{Name: "x", MadeAt: at0, Bytes: 2e6},
			Failures: 2, Reason: wire.Reason{Code: "denied", Detail: "no\x1b[1m"},
		}, []string{"x, 2026-11-22T12:00:00Z, 2.0 MB", "2 times in a row, denied: no"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 1)
			cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v1/backups" {
					_ = json.NewEncoder(w).Encode(c.state)
					return true
				}
				return false
			}
			got := at(cluster).run(t, "backup", "status")
			require.Zero(t, got.code, got.err)
			for _, want := range c.want {
				require.Contains(t, got.out, want)
			}
			require.NotContains(t, got.out, "\x1b")
		})
	}
}
