package local

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
)

// Every node ships the same records, which are those of the API; they verify, before
// and after the leader is killed, and the disclosure names pod, fence and number.
func TestAuditOfARealCluster(t *testing.T) {
	t.Parallel()
	takeSlot(t)
	dir := t.TempDir()
	l := launch(t, filepath.Join(dir, "cluster")).up()
	_, err := l.keysteward("allocate", "--pod", "audited", "--keys", "2", "--out", filepath.Join(dir, "keys"), "--layout", "teku")
	require.NoError(t, err)
	out, err := l.keysteward("audit", "verify")
	require.NoError(t, err)
	_, head, found := strings.Cut(out, "head: ")
	require.True(t, found, out)

	killed := l.leader()
	require.NoError(t, syscall.Kill(killed.PID, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		_, err := l.keysteward("audit", "verify", "--head", strings.TrimSpace(head))
		return err == nil
	}, patience, 200*time.Millisecond)
	page := get[wire.AuditPage](t, l.leader().API+"/v1/audit?action=key.disclose&object=default/audited", l.file().AdminTokenFile)
	require.Len(t, page.Records, 1)
	require.Regexp(t, `^2 keys, UID \S+, fence \d+$`, page.Records[0].Detail)
	require.Equal(t, "done", page.Records[0].Outcome)

	for i, node := range l.file().Nodes {
		if node.ID == killed.ID {
			continue // it may have been killed in the middle of a line
		}
		name := filepath.Join(l.dir, nodeName(i), "audit.jsonl")
		requireMode(t, name, 0o600)
		require.Eventually(t, func() bool {
			text, err := os.ReadFile(name)
			return err == nil && strings.Contains(string(text), page.Records[0].Hash) && strings.Count(string(text), `"action":"session.begin"`) >= 2
		}, patience, 50*time.Millisecond, name)
		out, err = l.keysteward("audit", "verify", "--file", name)
		require.NoError(t, err, out)
		require.NotContains(t, out, "gap")
		requireCutIsTold(t, l, name)
	}
}

// requireCutIsTold takes lines away from copies of a node's file.
func requireCutIsTold(t *testing.T, l *launched, name string) {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(text), "\n")
	cut := filepath.Join(t.TempDir(), "cut.jsonl")
	require.NoError(t, os.WriteFile(cut, []byte(strings.Join(lines[:3], "")), 0o600))
	require.Eventually(t, func() bool { // once the fourth record is old enough
		out, err := l.keysteward("audit", "verify", "--file", cut)
		return err != nil && strings.Contains(out, "3 records of files verified, from 1 to 3; the cluster's newest is ")
	}, patience, 200*time.Millisecond)
	require.NoError(t, os.WriteFile(cut, []byte(strings.Join(lines[3:], "")), 0o600))
	out, err := l.keysteward("audit", "verify", "--file", cut)
	require.Error(t, err, out)
	require.Contains(t, out, "gap: the files lack records 1 to 3: ")
}
