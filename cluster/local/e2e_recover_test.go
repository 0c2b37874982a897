package local

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
)

// begin starts the process of a node again.
func (l *launcher) begin(t *testing.T, i int) {
	t.Helper()
	l.nodes.mu.Lock()
	defer l.nodes.mu.Unlock()
	require.NoError(t, l.nodes.startNode(t.Context(), i))
}

// end ends the process of a node.
func (l *launcher) end(t *testing.T, i int, sig os.Signal) {
	t.Helper()
	p := l.nodes.process(i)
	require.NoError(t, p.signal(sig))
	<-p.done
}

// voting waits until so many nodes vote, with nobody silent, as the leader says it.
func (l *launcher) voting(t *testing.T, want int) (c wire.Cluster) {
	t.Helper()
	var out string
	require.Eventually(t, func() bool {
		var err error
		c = wire.Cluster{}
		if out, err = l.keysteward(t, "cluster", "status", "-o", "json"); err != nil || json.Unmarshal([]byte(out), &c) != nil || c.Leader == "" {
			return false
		}
		for _, n := range c.Nodes {
			if !n.Voter || n.Lag < 0 || n.API == "" {
				return false
			}
		}
		return len(c.Nodes) == want
	}, 2*patience, pollTime, "not %d voters: %s", want, &out)
	return c
}

// The runbook's way out of a lost quorum, word by word, with the commands that stand there:
// two of three disks are gone for good; the one that is left tells what it has, becomes the
// cluster, and takes the others in under new IDs. Then members change by an operator's word.
func TestQuorumIsLostAndRecovered(t *testing.T) {
	t.Parallel()
	l, book := newLauncher(t, 3), readRunbook(t)
	require.NoError(t, l.startNodes(t.Context()))
	require.NoError(t, l.initSeed(t.Context()))
	require.Eventually(t, func() bool { status, _ := l.post(t, "before", 2); return status == http.StatusOK }, 2*patience, pollTime)
	before := l.voting(t, 3)
	data := func(i int) string { return l.folder.in(nodeName(i), "data") }
	recoverFrom := func(i int, how string) (string, error) {
		return book.give(t, l, quorumLost, "keysteward cluster recover --data-dir /var/lib/keysteward "+how, "/var/lib/keysteward", data(i))
	}

	out, err := recoverFrom(0, "--inspect")
	require.Error(t, err)
	require.Contains(t, out, "data folder is in use by another process")
	for i := range 3 {
		l.end(t, i, syscall.SIGKILL)
	}
	newest, last := 0, ""
	number := regexp.MustCompile(`last entry +term (\d+), index (\d+)`)
	for i := range 3 {
		out, err = recoverFrom(i, "--inspect")
		require.NoError(t, err, out)
		m := number.FindStringSubmatch(out)
		require.NotNil(t, m, out)
		if at := strings.Repeat("0", 12-len(m[1])) + m[1] + strings.Repeat("0", 12-len(m[2])) + m[2]; at > last {
			newest, last = i, at
		}
	}
	for i := range 3 {
		if i != newest {
			require.NoError(t, os.RemoveAll(data(i)))
		}
	}
	out, err = book.give(t, l, quorumLost, "keysteward cluster recover --data-dir /var/lib/keysteward --yes", "/var/lib/keysteward --yes", data(newest))
	require.Error(t, err, "it is not done without --yes")
	require.Contains(t, out, "nothing was changed")
	out, err = recoverFrom(newest, "--yes")
	require.NoError(t, err, out)
	require.Contains(t, out, "is the only member of cluster "+before.ClusterID)
	require.Contains(t, out, "What the lost nodes alone knew is lost")
	copies, err := filepath.Glob(filepath.Join(data(newest), "before-recovery-*"))
	require.NoError(t, err)
	require.Len(t, copies, 1)

	l.begin(t, newest)
	alone := l.voting(t, 1)
	require.Equal(t, before.ClusterID, alone.ClusterID)
	require.Greater(t, alone.Term, before.Term)
	for i := range 3 {
		if i != newest {
			l.begin(t, i)
		}
	}
	after := l.voting(t, 3)
	require.Equal(t, 1, after.FailureTolerance)
	for _, n := range after.Nodes {
		require.Equal(t, strings.HasPrefix(n.ID, nodeName(newest)), strings.Contains(idsIn(before), n.ID), n.ID)
	}
	l.afterRecovery(t, book)
	book.requireAllGiven(t, quorumLost)
	l.membersByHand(t, book)
	book.requireAllGiven(t, nodeDown)
}

// Sections of the runbook.
const (
	quorumLost = "The quorum is lost"
	nodeDown   = "A node is down"
)

func idsIn(c wire.Cluster) string {
	var ids []string
	for _, n := range c.Nodes {
		ids = append(ids, n.ID)
	}
	return strings.Join(ids, " ")
}

// afterRecovery is as after a restore: the keys rest and nothing is handed out, until an
// operator confirms it.
func (l *launcher) afterRecovery(t *testing.T, book *runbook) {
	t.Helper()
	out, err := l.keysteward(t, "keys", "list", "--state", "held")
	require.NoError(t, err)
	require.Contains(t, out, "0 keys; in all: resting 2")
	require.Contains(t, book.follow(t, l, quorumLost, "keysteward restore status"), "RESTORED AND NOT CONFIRMED")
	require.Eventually(t, func() bool {
		out, err = book.give(t, l, quorumLost, "keysteward restore status")
		return err == nil && strings.Contains(out, "nothing has to be found out any more")
	}, 2*patience, pollTime, "%s", late(&out))
	book.follow(t, l, quorumLost, "keysteward tokens list")
	book.follow(t, l, quorumLost, "keysteward restore confirm --validators-stopped")
	book.follow(t, l, quorumLost, "keysteward keys confirm-stopped --all-adopted")
	status, answer := l.post(t, "before", 2) // the same pod has its keys again
	require.Equal(t, http.StatusOK, status, "%s", answer)
}

// membersByHand goes through the other commands.
func (l *launcher) membersByHand(t *testing.T, book *runbook) {
	t.Helper()
	c := l.voting(t, 3)
	for _, n := range c.Nodes {
		out, err := l.keysteward(t, "cluster", "transfer", n.ID)
		require.NoError(t, err, out)
		require.Equal(t, n.ID+" leads\n", out)
	}
	out, err := l.keysteward(t, "cluster", "remove", nodeName(0))
	require.Error(t, err)
	require.Contains(t, out+err.Error(), "the loss of 0 voters instead of 1")
	l.end(t, 0, syscall.SIGKILL)
	require.Eventually(t, func() bool {
		out, err = l.keysteward(t, "cluster", "status")
		return err == nil && strings.Contains(out, "does not answer") && strings.Contains(out, "WARNING: with one more of the 3 voters lost")
	}, patience, pollTime, "%s", late(&out))
	out, err = l.keysteward(t, "cluster", "remove", nodeName(1), "--force")
	require.Error(t, err)
	require.Contains(t, out+err.Error(), "quorum-at-risk")
	book.follow(t, l, nodeDown, "keysteward cluster remove n2", "n2", nodeName(0))
	l.voting(t, 2)
	l.begin(t, 0) // with the data that it had
	require.Eventually(t, func() bool {
		_, answer := ask(t, http.MethodGet, l.site.apiURL(0)+"/readyz", "", asJSON, nil)
		out = string(answer)
		return strings.Contains(out, "this node was removed from cluster")
	}, patience, pollTime, "%s", late(&out))
	l.end(t, 0, syscall.SIGKILL)
	require.NoError(t, os.RemoveAll(l.folder.in(nodeName(0), "data")))
	l.begin(t, 0)
	l.voting(t, 3)
}
