package local

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestQuotedPathIsOneWordOfAShell(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ -~\t\n]{0,20}`).Draw(t, "path")
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "printf %s "+quote(text)).Output()
		require.NoError(t, err)
		require.Equal(t, text, string(out))
	})
	require.Equal(t, "/plain/path-1.2", quote("/plain/path-1.2"))
}

func exampleSummary() summary {
	return summary{
		ClusterFile: ClusterFile{
			Nodes: []ClusterNode{
				{ID: "n1-aa", API: "http://127.0.0.1:8200", Raft: "127.0.0.1:8300", PID: 11},
				{ID: "n2-bb", API: "http://127.0.0.1:8201", Raft: "127.0.0.1:8301", PID: 22},
			},
			Chain:          ClusterChain{RPC: "http://127.0.0.1:8545", ChainID: 7},
			AdminTokenFile: "/my data/tokens/admin",
		},
		Leader: "n2-bb", Binary: "/my bin/keysteward", Launcher: 99, Dir: "/my data",
		OperatorTokenFile: "/my data/tokens/operator", Next: 2,
	}
}

func TestSummaryNamesEverything(t *testing.T) {
	t.Parallel()
	text := exampleSummary().String()
	for _, want := range []string{
		"http://127.0.0.1:8200   PID 11\n",
		"http://127.0.0.1:8201   PID 22   leader\n",
		"http://127.0.0.1:8200/assignments",
		"http://127.0.0.1:8545",
		"/my data/tokens/admin",
		"/my data/cluster.json",
		"\n  kill -9 22\n",
		"\n  kill -HUP 99\n",
		"'/my bin/keysteward' allocate --server http://127.0.0.1:8200,http://127.0.0.1:8201",
		"--pod validator-2 --keys 2 --out '/my data/pods/validator-2'",
	} {
		require.Contains(t, text, want)
	}
}

func TestSummaryHasThingsToTry(t *testing.T) {
	t.Parallel()
	_, try, found := strings.Cut(exampleSummary().String(), "Try in another terminal:")
	require.True(t, found)
	try, again, found := strings.Cut(try, "To start nodes again that have ended:")
	require.True(t, found)
	require.Equal(t, 4, strings.Count(try, "  # "))
	require.Contains(t, again, "kill -HUP 99")
}

func TestClusterFileHasTheKeysThatScriptsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := exampleSummary().ClusterFile
	require.NoError(t, file.write(dir))
	requireMode(t, filepath.Join(dir, ClusterFileName), 0o600)
	raw, err := os.ReadFile(filepath.Join(dir, ClusterFileName))
	require.NoError(t, err)
	requireClusterFileKeys(t, raw)

	again, err := ReadClusterFile(dir)
	require.NoError(t, err)
	require.Equal(t, file, again)
	_, err = ReadClusterFile(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func requireClusterFileKeys(t *testing.T, raw []byte) {
	t.Helper()
	var file struct {
		Nodes []map[string]any `json:"nodes"`
		Chain map[string]any   `json:"chain"`
	}
	var top map[string]any
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NoError(t, json.Unmarshal(raw, &top))
	requireKeys(t, top, "nodes", "chain", "adminTokenFile", "mnemonicFile")
	requireKeys(t, file.Chain, "rpc", "chainId", "depositContract", "forkVersion", "fundedAddress")
	for _, n := range file.Nodes {
		requireKeys(t, n, "id", "api", "raft", "pid")
	}
}

func requireKeys(t *testing.T, object map[string]any, want ...string) {
	t.Helper()
	var have []string
	for key := range object {
		have = append(have, key)
	}
	require.ElementsMatch(t, want, have)
}

func TestConsole(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &console{out: &out}
	require.NoError(t, c.run("chain", func() error { return nil }))
	require.Regexp(t, `^chain … +ok \d+\.\ds\n$`, out.String())

	out.Reset()
	err := c.run("nodes", func() error {
		require.Regexp(t, `^nodes … +$`, out.String(), "it is told before it is done")
		w := c.lines()
		_, _ = w.Write([]byte("one\ntw"))
		_, _ = w.Write([]byte("o\n\nthree"))
		w.flush()
		return os.ErrClosed
	})
	require.ErrorIs(t, err, os.ErrClosed)
	require.Regexp(t, `^nodes … +\n  one\n  two\n  three\nnodes … +failed \d+\.\ds\n$`, out.String())
}

func TestLogTail(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	require.Contains(t, logTail(path), "no such file")
	var text strings.Builder
	for i := range 5000 {
		text.WriteString("line " + strconv.Itoa(i) + "\n")
	}
	require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))
	lines := strings.Split(logTail(path), "\n")
	require.Len(t, lines, tailLines)
	require.Equal(t, "    line 4999", lines[len(lines)-1])
	require.Equal(t, "    line 4988", lines[0])
}

func TestLogTailShowsWhyAProgramCrashed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	text := strings.Repeat("before\n", 30) + "panic: no luck\n" + strings.Repeat("\tframe\n", 100)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	lines := strings.Split(logTail(path), "\n")
	require.Len(t, lines, tailLines)
	require.Equal(t, "    panic: no luck", lines[0])
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	foreign := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(foreign, "thesis"), nil, 0o600))
	for name, c := range map[string]struct {
		args []string
		is   error
		says string
	}{
		"unknown flag":   {[]string{"--nodez", "3"}, ErrUsage, "--nodez"},
		"argument":       {[]string{"start"}, ErrUsage, `takes no arguments, got ["start"]`},
		"no number":      {[]string{"--nodes", "many"}, ErrUsage, "--nodes"},
		"no nodes":       {[]string{"--nodes", "0"}, ErrUsage, "--nodes 0"},
		"no binary":      {[]string{"--keysteward", "/no/such/file"}, ErrBinary, "/no/such/file"},
		"foreign folder": {[]string{"--keysteward", "/bin/sh", "--dir", foreign}, ErrForeignDir, "thesis"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := Command("v", make(chan os.Signal))
			var out bytes.Buffer
			cmd.SetOut(&out)
			cmd.SetErr(&out)
			cmd.SetArgs(c.args)
			err := cmd.ExecuteContext(t.Context())
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
			require.Empty(t, out.String(), "the caller prints the error")
		})
	}
}
