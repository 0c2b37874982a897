package local

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/keystore"
)

func TestFreshClusterGivesEachPodItsOwnKeys(t *testing.T) {
	t.Parallel()
	takeSlot(t)
	dir := filepath.Join(t.TempDir(), "a folder") // which has to be quoted
	layouts := keystore.Layouts()
	l := launch(t, dir, "--examples", strconv.Itoa(len(layouts))).up()

	file := requireClusterFile(t, l)
	var keys []string
	secrets := secretsOf(t, dir)
	for i := range layouts {
		have, raw := readPod(t, filepath.Join(dir, "pods", "validator-"+strconv.Itoa(i)), 2)
		keys = append(keys, have...)
		for _, s := range raw {
			secrets = append(secrets, secretBytes("validator key", s))
		}
	}
	requireDepositedOnce(t, file.Chain, keys)
	for _, key := range keys {
		require.Contains(t, l.out.String(), key, "the table shows it")
	}
	requireCommandsWork(t, l, len(layouts))
	more, _ := readPod(t, filepath.Join(dir, "pods", "validator-"+strconv.Itoa(len(layouts))), 2)
	requireDepositedOnce(t, file.Chain, append(keys, more...))
	requireNoSecrets(t, l, secrets)

	l.signal(syscall.SIGINT)
	require.Zero(t, l.end())
	require.Contains(t, l.out.String(), "stopping")
}

// requireClusterFile compares cluster.json with what runs.
func requireClusterFile(t *testing.T, l *launched) ClusterFile {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(l.dir, ClusterFileName))
	require.NoError(t, err)
	requireClusterFileKeys(t, raw)
	file := l.file()
	require.Len(t, file.Nodes, 3)
	cluster := l.clusterBy(l.leader())
	require.Equal(t, 1, cluster.FailureTolerance)
	for _, n := range cluster.Nodes {
		found := false
		for _, have := range file.Nodes {
			found = found || have.ID == n.ID && have.API == n.API && have.Raft == n.Raft && alive(have.PID)
		}
		require.True(t, found, "%+v is not in %+v", n, file.Nodes)
	}
	requireMode(t, l.dir, 0o700)
	requireMode(t, file.AdminTokenFile, 0o600)
	requireMode(t, file.MnemonicFile, 0o600)
	return file
}

// requireCommandsWork pastes what the launcher printed into a shell, the command that
// kills the leader last.
func requireCommandsWork(t *testing.T, l *launched, pods int) {
	t.Helper()
	paste := func(title string) string { return pasted(t, l.out.String(), title) }
	paste("keys for another pod")
	require.Contains(t, paste("look at the page"), "validator-"+strconv.Itoa(pods))
	require.Contains(t, paste("compare what was paid"), "no difference")
	// On a busy machine another node may lead by now than when this was printed.
	killed := regexp.MustCompile(`kill -9 (\d+)`).FindStringSubmatch(l.out.String())
	require.Len(t, killed, 2)
	pid, err := strconv.Atoi(killed[1])
	require.NoError(t, err)
	paste("kill the leader")
	requireGone(t, pid)
	require.NotEqual(t, pid, l.leader().PID)
	l.await("has ended: killed by SIGKILL")
	paste("To start nodes again")
	l.await("started again, PID")
	l.caughtUp()
}

// pasted runs the command that the launcher printed under a title.
func pasted(t *testing.T, text, title string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, title)
	require.True(t, found, title)
	line := strings.Split(strings.ReplaceAll(rest, "\n\n", "\n"), "\n")[1]
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", line)
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", line, out)
	return string(out)
}

func TestLeaderKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	takeSlot(t)
	dir := t.TempDir()
	l := launch(t, dir).up()
	const pods, each = 4, 8
	out := func(i int) string { return filepath.Join(dir, "pods", "p"+strconv.Itoa(i)) }

	ends := make(chan error, pods)
	for i := range pods {
		go func() {
			_, err := l.keysteward("allocate", "--pod", "p"+strconv.Itoa(i), "--keys", strconv.Itoa(each),
				"--out", out(i), "--layout", string(keystore.Layouts()[i]))
			ends <- err
		}()
	}
	// In the middle: some deposits are signed, and none or not all of the keys are free.
	require.Eventually(t, func() bool { return len(depositEvents(t, l.file().Chain)) > 0 || depositsBegun(t, l) > 0 },
		patience, 5*time.Millisecond)
	killed := l.leader()
	require.NoError(t, syscall.Kill(killed.PID, syscall.SIGKILL))
	for range pods {
		require.NoError(t, <-ends)
	}
	var keys []string
	for i := range pods {
		have, _ := readPod(t, out(i), each)
		keys = append(keys, have...)
	}
	requireDepositedOnce(t, l.file().Chain, keys)

	page := get[wire.KeyPage](t, l.leader().API+"/v1/keys?limit=1000", l.file().AdminTokenFile)
	require.Len(t, page.Keys, pods*each, "no more keys than were asked for")

	l.await("has ended: killed by SIGKILL")
	l.signal(syscall.SIGHUP)
	l.await("started again, PID")
	require.Eventually(t, func() bool {
		for _, n := range l.file().Nodes {
			if n.ID == killed.ID {
				return n.PID != killed.PID
			}
		}
		return false
	}, patience, 10*time.Millisecond, "cluster.json has the new process ID")
	l.caughtUp()
	requireDepositedOnce(t, l.file().Chain, keys)
}

// depositsBegun counts deposits that the cluster has signed.
func depositsBegun(t *testing.T, l *launched) (count int) {
	t.Helper()
	status, answer := ask(t, http.MethodGet, l.leader().API+"/v1/deposits", l.file().AdminTokenFile, asJSON, nil)
	var page wire.DepositPage
	if status != http.StatusOK || json.Unmarshal(answer, &page) != nil {
		return 0
	}
	for _, d := range page.Deposits {
		if len(d.Attempts) > 0 {
			count++
		}
	}
	return count
}

func TestRestartChangesNothing(t *testing.T) {
	t.Parallel()
	takeSlot(t)
	dir := t.TempDir()
	l := launch(t, dir, "--examples", "2").up()
	before := l.assignments()
	require.Len(t, before, 2)
	file := l.file()
	files := fingerprint(t, filepath.Join(dir, "pods"))
	l.signal(syscall.SIGTERM)
	require.Zero(t, l.end())

	// All nodes stopped in good order; the example pods ask again, and get nothing new.
	l = launch(t, dir, "--examples", "2").up()
	require.Equal(t, before, l.assignments())
	require.Equal(t, files, fingerprint(t, filepath.Join(dir, "pods")), "nothing was written again")
	again := l.file()
	require.Equal(t, file.Chain, again.Chain)
	for i := range again.Nodes {
		require.NotEqual(t, file.Nodes[i].PID, again.Nodes[i].PID)
		again.Nodes[i].PID = file.Nodes[i].PID
	}
	require.Equal(t, file, again, "the same cluster at the same addresses")

	// All nodes killed at once.
	for _, n := range l.file().Nodes {
		require.NoError(t, syscall.Kill(n.PID, syscall.SIGKILL))
	}
	require.Eventually(t, func() bool { return strings.Count(l.out.String(), "has ended") == 3 }, patience, 10*time.Millisecond)
	l.signal(syscall.SIGHUP)
	require.Eventually(t, func() bool { return strings.Count(l.out.String(), "started again, PID") == 3 }, patience, 10*time.Millisecond)
	require.Equal(t, before, l.assignments())
	var keys []string
	for i := range 2 {
		out := filepath.Join(dir, "pods", "validator-"+strconv.Itoa(i))
		_, err := l.keysteward("allocate", "--pod", "validator-"+strconv.Itoa(i), "--keys", "2", "--out", out,
			"--layout", string(keystore.Layouts()[i]))
		require.NoError(t, err)
		have, _ := readPod(t, out, 2)
		keys = append(keys, have...)
	}
	require.Equal(t, files, fingerprint(t, filepath.Join(dir, "pods")), "nothing was written again")
	requireDepositedOnce(t, file.Chain, keys)
	requireIndexed(t, l, len(keys))
	requireOneLauncher(t, dir)
}

// requireIndexed holds once every node, leader or not, has all DepositEvents, and
// checks that none began anew when it was started again.
func requireIndexed(t *testing.T, l *launched, events int) {
	t.Helper()
	whole := regexp.MustCompile(`(?m)^n\d-\S+: DepositEvents read up to block \d+, ` + strconv.Itoa(events) + ` in all$`)
	var out string
	require.Eventually(t, func() bool {
		var err error
		out, err = l.keysteward("cluster", "status")
		return err == nil && len(whole.FindAllString(out, -1)) == 3
	}, patience, 100*time.Millisecond, "%s", out)
	for i := range 3 {
		log, err := os.ReadFile(filepath.Join(l.dir, nodeName(i), "log"))
		require.NoError(t, err)
		require.Contains(t, string(log), "the index of DepositEvents was read up to a block before")
	}
}

// requireOneLauncher holds if nobody else can start on the folder, nor with another
// number of nodes.
func requireOneLauncher(t *testing.T, dir string) {
	t.Helper()
	second := launchedAnyway(t, dir)
	require.Contains(t, second, "in use by another")
}

// launchedAnyway returns what a launcher prints that is expected to fail.
func launchedAnyway(t *testing.T, dir string, args ...string) string {
	t.Helper()
	keysteward, launcher := binaries(t)
	args = append([]string{"--dir", dir, "--keysteward", keysteward}, args...)
	out, err := exec.CommandContext(t.Context(), launcher, args...).CombinedOutput()
	require.Error(t, err, "%s", out)
	return string(out)
}

func TestNothingSurvivesAKilledLauncher(t *testing.T) {
	t.Parallel()
	takeSlot(t)
	dir := t.TempDir()
	l := launch(t, dir, "--examples", "1").up()
	before, file := l.assignments(), l.file()
	l.signal(syscall.SIGKILL)
	<-l.done
	for _, n := range file.Nodes {
		requireGone(t, n.PID)
	}
	require.Eventually(t, func() bool { return len(processesOf(dir)) == 0 }, patience, 10*time.Millisecond)
	require.Contains(t, launchedAnyway(t, dir, "--nodes", "5"), "was made with 3")

	l = launch(t, dir, "--examples", "2").up()
	require.Equal(t, before, l.assignments()[:1])
	keys, _ := readPod(t, filepath.Join(dir, "pods", "validator-0"), 2)
	more, _ := readPod(t, filepath.Join(dir, "pods", "validator-1"), 2)
	requireDepositedOnce(t, l.file().Chain, append(keys, more...))
}

// A launcher that starts again without examples proposes a pod that gets keys.
func TestProposedPodIsFree(t *testing.T) {
	t.Parallel()
	takeSlot(t)
	dir := t.TempDir()
	l := launch(t, dir, "--nodes", "1", "--examples", "1").up()
	elsewhere := filepath.Join(t.TempDir(), "keys")
	_, err := l.keysteward("allocate", "--pod", "validator-1", "--keys", "1", "--out", elsewhere, "--layout", "prysm")
	require.NoError(t, err)
	l.signal(syscall.SIGINT)
	require.Zero(t, l.end())

	l = launch(t, dir).up() // one pod has a folder, the next one keys in another
	require.Contains(t, pasted(t, l.out.String(), "keys for another pod"), "pod default/validator-2 holds 2 keys")
	l.signal(syscall.SIGINT)
	require.Zero(t, l.end())
}

func TestOnceStopsByItself(t *testing.T) {
	t.Parallel()
	takeSlot(t)
	dir := t.TempDir()
	l := launch(t, dir, "--nodes", "1", "--examples", "1", "--once")
	require.Zero(t, l.end(), "%s", l.out)
	readPod(t, filepath.Join(dir, "pods", "validator-0"), 2)
	require.Contains(t, l.out.String(), "validator-0")
}

func TestInterruptedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"that was to stay":            {nil, 0},
		"that was to finish its work": {[]string{"--once", "--examples", "3"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			takeSlot(t)
			l := launch(t, t.TempDir(), c.args...)
			l.await("3 nodes")
			l.signal(syscall.SIGTERM)
			require.Equal(t, c.code, l.end(), "%s", l.out)
			require.NoFileExists(t, filepath.Join(l.dir, ClusterFileName))
		})
	}
}
