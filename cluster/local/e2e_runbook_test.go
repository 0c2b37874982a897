package local

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/failpoint"
)

// runbookDays are three nodes, and a fourth of another kind, whose operator gives the
// commands of the runbook.
type runbookDays struct {
	*launcher

	book   *runbook
	points failpoint.Folder
}

func newRunbookDays(t *testing.T) *runbookDays {
	t.Helper()
	binary := binaryWithPoints(t)
	d := &runbookDays{book: readRunbook(t), points: failpoint.Folder(t.TempDir())}
	d.launcher = newLauncher(t, founding+1, func(l *launcher) {
		l.binary, l.nodes.binary = binary, binary
		l.site.env = []string{failpoint.Variable + "=" + string(d.points)}
		for i := range founding {
			l.site.found = append(l.site.found, nodeName(i)+"="+l.site.address(i, l.site.ports.Raft[i]))
		}
		l.site.more = func(i int) []string {
			if i < founding {
				return nil
			}
			return []string{"--invited"}
		}
	})
	d.beginAll(t)
	d.voting(t, founding)
	out, err := d.keysteward(t, "init", "--yes", "--mnemonic-out", d.site.mnemonic())
	require.NoError(t, err, out)
	return d
}

func (d *runbookDays) beginAll(t *testing.T) {
	t.Helper()
	for i := range founding {
		d.begin(t, i)
	}
}

func (d *runbookDays) holds(t *testing.T, pod string, keys int) {
	t.Helper()
	require.Eventually(t, func() bool { status, _ := d.post(t, pod, keys); return status == http.StatusOK }, 2*patience, pollTime)
}

// TestRunbookMembersAndBackups follows the cases of members and backups with the commands
// that stand in the runbook; TestQuorumIsLostAndRecovered does the lost quorum.
func TestRunbookMembersAndBackups(t *testing.T) {
	t.Parallel()
	d := newRunbookDays(t)
	d.holds(t, "before", 2)
	for _, play := range []func(*testing.T){d.backupAndRestore, d.nodeGone, d.nodeDiffers, d.growAndShrink, d.intoNewCluster} {
		play(t)
	}
}

const backupAndRestore = "Backup and restore"

func (d *runbookDays) backupAndRestore(t *testing.T) {
	t.Helper()
	out, err := d.keysteward(t, "tokens", "create", "bob", "--role", "viewer")
	require.NoError(t, err, out)
	d.book.follow(t, d.launcher, backupAndRestore, "keysteward backup --output")
	require.Contains(t, d.book.follow(t, d.launcher, backupAndRestore, "keysteward backup verify"), "whole and undamaged")
	d.holds(t, "after", 1)

	out, err = d.book.give(t, d.launcher, backupAndRestore, "keysteward restore keysteward.backup --force-older")
	require.Error(t, err, "there is no terminal that could be asked")
	require.Contains(t, out, "--yes")
	d.book.follow(t, d.launcher, backupAndRestore, "keysteward restore keysteward.backup --force-older", "--force-older", "--force-older --yes")
	d.confirm(t)
	d.holds(t, "before", 2)
}

// confirm is what stands behind every restore.
func (d *runbookDays) confirm(t *testing.T) {
	t.Helper()
	var out string
	require.Eventually(t, func() bool {
		var err error
		out, err = d.book.give(t, d.launcher, backupAndRestore, "keysteward restore status")
		return err == nil && strings.Contains(out, "nothing has to be found out any more")
	}, 4*patience, pollTime, "%s", &out)
	out = d.book.follow(t, d.launcher, backupAndRestore, "keysteward tokens list")
	id := ""
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == "bob" {
			id = fields[0]
		}
	}
	require.NotEmpty(t, id, out)
	d.book.follow(t, d.launcher, backupAndRestore, "keysteward tokens confirm ID…", "ID…", id)
	d.book.follow(t, d.launcher, backupAndRestore, "keysteward restore confirm --validators-stopped")
	d.book.follow(t, d.launcher, backupAndRestore, "keysteward keys confirm-stopped --all-adopted")
}

// nodeGone: a machine is gone for good, is taken out, and comes back with an empty disk.
func (d *runbookDays) nodeGone(t *testing.T) {
	t.Helper()
	d.end(t, 1, syscall.SIGKILL)
	var out string
	require.Eventually(t, func() bool {
		var err error
		out, err = d.keysteward(t, "cluster", "status")
		return err == nil && strings.Contains(out, "does not answer")
	}, patience, pollTime, "%s", &out)
	d.book.follow(t, d.launcher, nodeDown, "keysteward cluster remove n2")
	d.voting(t, founding-1)
	require.NoError(t, os.RemoveAll(d.site.dataDir(1)))
	d.begin(t, 1)
	d.voting(t, founding)
}

// nodeDiffers: one node applies entries otherwise, stops by itself, and goes on with an
// empty folder.
func (d *runbookDays) nodeDiffers(t *testing.T) {
	t.Helper()
	out, err := d.keysteward(t, "cluster", "transfer", nodeName(0))
	require.NoError(t, err, out)
	const differs = founding - 1
	p := d.nodes.process(differs)
	require.NoError(t, d.points.SetOtherwise(nodeName(differs), true))
	require.Eventually(t, func() bool {
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	}, 4*patience, pollTime, "it goes on")
	log, err := os.ReadFile(d.site.log(differs))
	require.NoError(t, err)
	require.Contains(t, string(log), "this node differs from the others")
	require.NoError(t, d.points.SetOtherwise(nodeName(differs), false))
	require.NoError(t, os.Rename(d.site.dataDir(differs), d.site.dataDir(differs)+".differs"))
	d.begin(t, differs)
	d.voting(t, founding)
}

func (d *runbookDays) growAndShrink(t *testing.T) {
	t.Helper()
	const section = "Grow and shrink"
	d.begin(t, founding)
	address := d.site.address(founding, d.site.ports.Raft[founding])
	require.Eventually(t, func() bool {
		_, answer := ask(t, http.MethodGet, d.site.apiURL(founding)+"/readyz", "", asJSON, nil)
		return strings.Contains(string(answer), "operator")
	}, patience, pollTime, "it does not say what it waits for")
	d.book.follow(t, d.launcher, section, "keysteward cluster join", "spare.example:8300", address)
	d.voting(t, founding+1)
	d.book.requireAllGiven(t, section)
	out, err := d.keysteward(t, "cluster", "remove", nodeName(founding))
	require.NoError(t, err, out)
	d.voting(t, founding)
	d.end(t, founding, syscall.SIGTERM)
}

// intoNewCluster: all disks are lost, and the backup is restored into empty nodes.
func (d *runbookDays) intoNewCluster(t *testing.T) {
	t.Helper()
	for i := range founding {
		d.end(t, i, syscall.SIGKILL)
		require.NoError(t, os.RemoveAll(d.site.dataDir(i)))
	}
	d.beginAll(t)
	fresh := d.voting(t, founding)
	d.book.follow(t, d.launcher, backupAndRestore, "keysteward restore keysteward.backup", "keysteward.backup", "keysteward.backup --yes")
	require.NotEqual(t, fresh.ClusterID, d.voting(t, founding).ClusterID)
}
