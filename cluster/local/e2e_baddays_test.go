package local

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/local/devchain"
)

// newLauncher is a launcher within the test, of real nodes, that has its secrets and a
// chain that runs; step by step it can be driven where Run does not go.
func newLauncher(t *testing.T, nodes int, change ...func(*launcher)) *launcher {
	t.Helper()
	takeSlot(t)
	keysteward, _ := binaries(t)
	f, err := openFolder(t.TempDir())
	require.NoError(t, err)
	l := &launcher{
		console: &console{out: io.Discard}, binary: keysteward, folder: f,
		site: &site{folder: f, ports: f.freePorts(t, nodes)}, spawner: newSpawner(),
	}
	l.nodes = newSupervisor(l.spawner, l.binary, l.site, l.reportEnd)
	for _, c := range change {
		c(l)
	}
	t.Cleanup(func() {
		require.NoError(t, l.down())
		l.spawner.close()
		require.NoError(t, f.close())
		require.Empty(t, processesOf(f.path), "processes are left behind")
		if t.Failed() {
			for i := range nodes {
				t.Logf("log of %s:\n%s", nodeName(i), logTail(l.site.log(i)))
			}
		}
	})
	require.NoError(t, l.remember(nodes))
	require.NoError(t, l.openSecrets(t.Context()))
	require.NoError(t, l.startChain(t.Context()))
	return l
}

// atLast is a text that a failing wait shows as it is in the end.
type atLast func() string

// String implements fmt.Stringer.
func (t atLast) String() string { return t() }

func late[T ~string | ~[]byte](text *T) atLast { return func() string { return string(*text) } }

// podUID is that of the pods that ask for keys.
const podUID = "11111111-2222-4333-8444-555555555555"

// post asks for keys on every node in turn until the leader answers.
func (l *launcher) post(t *testing.T, pod string, keys int) (status int, answer []byte) {
	t.Helper()
	body := wire.AllocationRequest{Namespace: "default", Pod: pod, PodUID: podUID, Keys: int64(keys)}
	require.Eventually(t, func() bool {
		for _, url := range l.site.apiURLs() {
			status, answer = ask(t, http.MethodPost, url+"/v1/allocations", l.site.tokens.Operator, asJSON, body)
			if status == http.StatusOK || status == http.StatusAccepted || status/100 == 4 {
				return true
			}
		}
		return false
	}, patience, 20*time.Millisecond, "no node answers: %s", late(&answer))
	return status, answer
}

func TestChainThatIsDownIsSaidAndWaitedFor(t *testing.T) {
	t.Parallel()
	l := newLauncher(t, 3)
	require.NoError(t, l.startNodes(t.Context()))
	require.NoError(t, l.initSeed(t.Context()))
	require.NoError(t, l.chain.Close())

	var pending wire.PendingAllocation
	require.Eventually(t, func() bool {
		status, answer := l.post(t, "patient", 2)
		require.Equal(t, http.StatusAccepted, status, "%s", answer)
		require.NoError(t, json.Unmarshal(answer, &pending))
		return pending.Reason.Code == "chain-unreachable"
	}, patience, 50*time.Millisecond, "the reason is not told: %+v", &pending)
	require.Contains(t, pending.Reason.Detail, address(l.site.ports.Chain), "the reason names the execution client")
	require.Contains(t, pending.Reason.Detail, " ", "in words")
	requireWaitingIsVisible(t, l)

	// Mended: it goes on by itself.
	require.NoError(t, l.startChain(t.Context()))
	require.Eventually(t, func() bool {
		status, _ := l.post(t, "patient", 2)
		return status == http.StatusOK
	}, 2*patience, 100*time.Millisecond)
	deposits := depositEvents(t, l.site.chain)
	require.Len(t, deposits, 2, "no more than asked for, however often")
	for key, times := range deposits {
		require.Equal(t, 1, times, key)
	}
}

// requireWaitingIsVisible holds if some node's metrics, and the deposits, tell why nothing
// happens.
func requireWaitingIsVisible(t *testing.T, l *launcher) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, url := range l.site.apiURLs() {
			_, metrics := ask(t, http.MethodGet, url+"/metrics", "", "text/plain", nil)
			for line := range strings.Lines(string(metrics)) {
				if strings.HasPrefix(line, "keysteward_deposits_waiting{") && strings.Contains(line, "chain-unreachable") {
					return strings.HasSuffix(strings.TrimSpace(line), " 1")
				}
			}
		}
		return false
	}, patience, 50*time.Millisecond, "no metric says that deposits wait for the chain")
	out := new(bytes.Buffer)
	args := l.site.clientArgs(l.site.tokens.Viewer, "deposits", "list")
	require.NoError(t, runCommand(t.Context(), l.spawner, l.binary, args, out, out), "%s", out)
	require.Contains(t, out.String(), "chain-unreachable")
}

func TestNodeWithoutTheRightKeyRunsSealed(t *testing.T) {
	t.Parallel()
	l := newLauncher(t, 3)
	require.NoError(t, l.startNodes(t.Context()))
	require.NoError(t, l.initSeed(t.Context()))
	wrong := l.folder.in("wrong-kek")
	_, err := keepFile(wrong, randomHex)
	require.NoError(t, err)

	for i, c := range []struct{ name, file string }{{"wrong", wrong}, {"missing", l.folder.in("no-such-file")}} {
		old := l.nodes.process(2)
		require.NoError(t, old.signal(syscall.SIGKILL))
		<-old.done
		args := strings.Split(strings.Replace(strings.Join(l.site.serverArgs(2), "\x00"), "file:"+l.site.kek, "file:"+c.file, 1), "\x00")
		log, err := openLog(l.site.log(2))
		require.NoError(t, err)
		p, err := startProcess(t.Context(), l.spawner, "n3", l.binary, args, nil, log)
		require.NoError(t, err)
		require.NoError(t, log.Close())
		l.nodes.mu.Lock()
		l.nodes.nodes[2] = p
		l.nodes.mu.Unlock()

		requireSealed(t, l, c.name)
		var answer []byte
		require.Eventually(t, func() bool {
			var status int
			status, answer = l.post(t, fmt.Sprintf("pod-%d", i), 1)
			return status == http.StatusOK
		}, patience, 100*time.Millisecond, "the others go on: %s", late(&answer))
		require.True(t, p.running(), "it votes and replicates")
	}
}

// requireSealed holds once n3 has caught up and says that it is sealed, in its
// readiness and in its log.
func requireSealed(t *testing.T, l *launcher, name string) {
	t.Helper()
	var r wire.Readiness
	require.Eventually(t, func() bool {
		status, answer := ask(t, http.MethodGet, l.site.apiURL(2)+"/readyz", "", asJSON, nil)
		if status != http.StatusServiceUnavailable || json.Unmarshal(answer, &r) != nil {
			return false
		}
		return sealedOnly(r, "")
	}, patience, 50*time.Millisecond, "%s key: %+v", name, &r)
	require.Greater(t, len(whyNotReady(r)), len("unsealed: "), "it says why")
	require.Eventually(t, func() bool {
		_, run, _ := cutLast(readText(t, l.site.log(2)), "keysteward runs")
		return strings.Contains(strings.ToLower(run), "sealed")
	}, patience, 20*time.Millisecond, "the log does not say that the node is sealed")
}

// cutLast cuts around the last occurrence of what separates.
func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

// serverFlags are those of a node that would start, on a folder that is new.
func serverFlags(t *testing.T) (*site, []string) {
	t.Helper()
	f := &folder{path: t.TempDir()}
	l := &launcher{folder: f, site: &site{folder: f, ports: freePorts(t, 1)}}
	require.NoError(t, l.openSecrets(t.Context()))
	l.site.chain = ClusterChain{
		RPC: "http://" + address(l.site.ports.Chain), ChainID: devchain.DefaultChainID,
		DepositContract: "0x00000000219ab540356cBB839Cbe05303d7705Fa", ForkVersion: "0x10000038",
	}
	return l.site, l.site.serverArgs(0)
}

// with returns the command line with another value of a flag.
func with(args []string, flag, value string) []string {
	changed := append([]string(nil), args...)
	for i := range changed {
		if changed[i] == flag {
			changed[i+1] = value
			return changed
		}
	}
	return append(changed, flag+"="+value)
}

func TestServerThatCanNotRunSaysWhyAndTouchesNothing(t *testing.T) {
	t.Parallel()
	taken := takenPort(t)
	for name, c := range map[string]struct {
		flag, value string
		says        string
	}{
		"no data folder":             {"--data-dir", "", "--data-dir"},
		"no number":                  {"--chain-id", "one", "--chain-id"},
		"unknown network":            {"--network", "moon", "network"},
		"nonsense for peers":         {"--peers", "n1", "n1"},
		"peers without this one":     {"--peers", "x=127.0.0.1:1", "n1"},
		"nonsense for seal":          {"--seal", "nonsense", "--seal"},
		"contract that is none":      {"--deposit-contract", "0x12", "0x12"},
		"fork version that is none":  {"--fork-version", "0x12", "fork"},
		"withdrawal address is none": {"--withdrawal-address", "somewhere", "withdrawal"},
		"amount too small":           {"--amount-gwei", "1", "amount"},
		"no token file":              {"--token-hashes", "/no/such/file", "/no/such/file"},
		"no keystore":                {"--funding-keystore", "/no/such/file", "/no/such/file"},
		"no password":                {"--funding-password-file", "/no/such/file", "/no/such/file"},
		"everybody may listen":       {"--api-addr", "0.0.0.0:0", "--tls-cert"},
		"log format":                 {"--log-format", "verse", "--log-format"},
		"log level":                  {"--log-level", "whisper", "--log-level"},
		"witness":                    {"--witness", "nobody", "nobody"},
		"lease beyond heartbeat":     {"--lease-timeout", "1h", "lease"},
		"unknown flag":               {"--frobnicate", "1", "--frobnicate"},
		"API port taken":             {"--api-addr", taken, taken},
		"Raft port taken":            {"--raft-addr", taken, taken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keysteward, _ := binaries(t)
			s, args := serverFlags(t)
			out := new(bytes.Buffer)
			err := runCommand(t.Context(), testSpawner(t), keysteward, with(args, c.flag, c.value), out, out)
			require.Error(t, err, "%s", out)
			require.ErrorContains(t, err, "exit code")
			require.NotContains(t, out.String(), "panic")
			require.Contains(t, out.String(), c.says)
			require.NoDirExists(t, s.folder.in("n1", "data"), "no data was made")
		})
	}
}

func takenPort(t *testing.T) string {
	t.Helper()
	server := &http.Server{ReadHeaderTimeout: time.Second}
	l, err := listen(t)
	require.NoError(t, err)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

func TestServerRefusesAForeignFolder(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{"somebody's": "thesis.txt", "another node's": "node-id"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keysteward, _ := binaries(t)
			s, args := serverFlags(t)
			data := s.folder.in("n1", "data")
			require.NoError(t, os.MkdirAll(data, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(data, file), []byte("n9-00000000\n"), 0o600))
			before := fingerprint(t, data)
			out := new(bytes.Buffer)
			require.Error(t, runCommand(t.Context(), testSpawner(t), keysteward, args, out, out))
			require.Contains(t, out.String(), data)
			require.Equal(t, before, fingerprint(t, data))
		})
	}
}

func TestLauncherWhosePortIsTakenStartsNothing(t *testing.T) {
	t.Parallel()
	_, port, _ := strings.Cut(takenPort(t), ":")
	for _, flag := range []string{flagAPIPort, flagRaftPort, flagChainPort} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := launch(t, dir, "--nodes", "1", "--"+flag, port)
			require.Equal(t, 1, l.end())
			require.Contains(t, l.out.String(), "--"+flag)
			require.Contains(t, l.out.String(), port)
			require.NoFileExists(t, filepath.Join(dir, memoryFile))
		})
	}
}
