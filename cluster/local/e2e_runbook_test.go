package local

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/keystore"
	"github.com/keysteward/keysteward/node/ethereum/validator"
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
			more := []string{"--witness", "operator"}
			if i < founding {
				return more
			}
			return append(more, "--invited")
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

// TestRunbook follows the cases of keys, members and backups with the commands that stand
// in the runbook; TestQuorumIsLostAndRecovered does the lost quorum.
func TestRunbook(t *testing.T) {
	t.Parallel()
	d := newRunbookDays(t)
	d.holds(t, "before", 2)
	for _, play := range []func(*testing.T){
		d.keysRest, d.backupAndRestore, d.nodeGone, d.nodeDiffers, d.growAndShrink, d.intoNewCluster, d.intoAnotherCluster,
	} {
		play(t)
	}
}

// keysRest: a pod lets its keys go without a proof, and a key is brought from elsewhere.
func (d *runbookDays) keysRest(t *testing.T) {
	t.Helper()
	const section, pod = "Keys rest and do not come free", "gone"
	d.holds(t, pod, 1)
	out, err := d.keysteward(t, "release", "--namespace", "default", "--pod", pod)
	require.NoError(t, err, out)
	brought := d.broughtKey(t)
	rests := d.book.follow(t, d.launcher, section, "keysteward keys list --state resting")
	require.Contains(t, rests, brought)
	require.Contains(t, d.book.follow(t, d.launcher, section, "keysteward assignments"), pod)
	d.book.follow(t, d.launcher, section, "keysteward release --namespace NS", "NS", "default", "POD", pod, "UID", podUID)
	d.book.follow(t, d.launcher, section, "keysteward keys confirm-stopped PUBLICKEY", "PUBLICKEY", brought)
	require.Eventually(t, func() bool {
		out, err = d.keysteward(t, "keys", "list", "--state", "resting")
		return err == nil && !strings.Contains(out, "0x")
	}, patience, pollTime, "%s", late(&out))
	d.book.requireAllGiven(t, section)
}

// broughtKey imports the key of another validator and returns its public key.
func (d *runbookDays) broughtKey(t *testing.T) string {
	t.Helper()
	seed, err := validator.SeedFromBytes(bytes.Repeat([]byte{7}, 64)) //nolint:mnd // the bytes of a seed
	require.NoError(t, err)
	key, err := seed.SigningKey(0)
	require.NoError(t, err)
	password, err := keystore.NewPassword([]byte("of a brought key"))
	require.NoError(t, err)
	dir := d.folder.in("brought")
	_, err = keystore.Write(t.Context(), dir, keystore.Teku, []keystore.Key{{Secret: key, Path: validator.SigningPath(0)}}, keystore.Options{Password: password})
	require.NoError(t, err)
	out, err := d.keysteward(t, "keys", "import", dir)
	require.NoError(t, err, out)
	return key.PublicKey().String()
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
	}, 4*patience, pollTime, "%s", late(&out))
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
	}, patience, pollTime, "%s", late(&out))
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

// intoAnotherCluster: what was made by mistake in the place of a cluster is given up for it.
func (d *runbookDays) intoAnotherCluster(t *testing.T) {
	t.Helper()
	was := d.voting(t, founding).ClusterID
	for i := range founding {
		d.end(t, i, syscall.SIGKILL)
		require.NoError(t, os.RemoveAll(d.site.dataDir(i)))
	}
	d.beginAll(t)
	other := d.voting(t, founding).ClusterID
	require.NoError(t, os.Remove(d.site.mnemonic()))
	out, err := d.keysteward(t, "init", "--yes", "--mnemonic-out", d.site.mnemonic())
	require.NoError(t, err, out)
	d.holds(t, "others", 1)
	out, err = d.book.give(t, d.launcher, backupAndRestore, "keysteward restore keysteward.backup", "keysteward.backup", "keysteward.backup --yes")
	require.Error(t, err, out)
	require.Contains(t, out, "--replace-cluster")
	require.Contains(t, out, other)
	d.book.follow(t, d.launcher, backupAndRestore, "keysteward restore keysteward.backup --replace-cluster ID", "ID", other+" --yes")
	require.Equal(t, was, d.voting(t, founding).ClusterID)
	d.confirm(t)
	d.holds(t, "before", 2)
	d.book.requireAllGiven(t, backupAndRestore)
}
