package local

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/failpoint"
)

// Nodes that are caught at a point, and what becomes of them there.

var (
	builtWithPoints sync.Once
	pointsLog       string
)

// binaryWithPoints builds keysteward with failpoints, once, and returns its path.
func binaryWithPoints(t *testing.T) string {
	t.Helper()
	ordinary, _ := binaries(t) // whose folder is removed in the end
	path := filepath.Join(filepath.Dir(ordinary), "failpoints", "keysteward")
	builtWithPoints.Do(func() {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "build", "-tags", "failpoints", "-o", path, ".")
		cmd.Dir = filepath.Join("..", "..")
		if out, err := cmd.CombinedOutput(); err != nil {
			pointsLog = err.Error() + "\n" + string(out)
		}
	})
	require.Empty(t, pointsLog, "the binary with failpoints can not be built")
	return path
}

// newTormented is a launcher whose nodes stop at the points of a folder.
func newTormented(t *testing.T, nodes int, points failpoint.Folder, flags ...string) *launcher {
	t.Helper()
	binary := binaryWithPoints(t)
	return newLauncher(t, nodes, func(l *launcher) {
		l.binary, l.nodes.binary = binary, binary
		l.site.env = []string{failpoint.Variable + "=" + string(points)}
		l.site.more = func(int) []string { return flags }
	})
}

// caughtAt returns the index of the node that is held at the point, once one is.
func (l *launcher) caughtAt(t *testing.T, points failpoint.Folder, point failpoint.Name) (node int) {
	t.Helper()
	pid := 0
	require.Eventually(t, func() bool {
		var err error
		pid, err = points.Caught(point)
		return err == nil && pid != 0
	}, patience, pollTime/10, "no leader comes to %s", point)
	for i := range l.site.ports.API {
		if l.nodes.process(i).pid() == pid {
			return i
		}
	}
	require.FailNow(t, "a process was caught that is no node", "%s: %d", point, pid)
	return -1
}

// killed kills a node and starts it again.
func (l *launcher) killed(t *testing.T, points failpoint.Folder, point failpoint.Name, node int) {
	t.Helper()
	l.end(t, node, syscall.SIGKILL)
	require.NoError(t, points.Release(point))
	_, err := l.nodes.restart(t.Context())
	require.NoError(t, err)
}

// asleep stops a node until another one leads; then it goes on as if nothing had been.
func (l *launcher) asleep(t *testing.T, points failpoint.Folder, point failpoint.Name, node int) {
	t.Helper()
	p := l.nodes.process(node)
	require.NoError(t, p.signal(syscall.SIGSTOP))
	l.anotherLeads(t, node)
	require.NoError(t, points.Release(point))
	require.NoError(t, p.signal(syscall.SIGCONT))
}

// anotherLeads returns the node that leads, once it is another one.
func (l *launcher) anotherLeads(t *testing.T, than int) (leader int) {
	t.Helper()
	require.Eventually(t, func() bool {
		for leader = range l.site.ports.API {
			var c wire.Cluster
			if leader == than {
				continue
			}
			if answer, _ := l.look(leader, "/v1/cluster"); json.Unmarshal(answer, &c) == nil && strings.HasPrefix(c.Leader, nodeName(leader)+"-") {
				return true
			}
		}
		return false
	}, patience, pollTime, "nobody else leads")
	return leader
}
