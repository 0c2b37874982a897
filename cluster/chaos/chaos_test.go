package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// programs builds what a stage takes: the product with failpoints, and a real geth.
func programs(t *testing.T) (keysteward, geth string) {
	t.Helper()
	keysteward = filepath.Join(t.TempDir(), "keysteward")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "failpoints", "-o", keysteward, ".")
	build.Dir = filepath.Join("..", "..")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	tool := exec.CommandContext(t.Context(), filepath.Join("..", "..", "scripts", "tool"), "geth")
	tool.Stderr = os.Stderr
	path, err := tool.Output()
	require.NoError(t, err, "scripts/tool geth")
	return keysteward, strings.TrimSpace(string(path))
}

// budget is how long the test's chaos lasts: with what comes before and after it the
// test takes two minutes.
const budget = 75 * time.Second

// A cluster keeps its promises under two minutes of chaos. CHAOS_DURATION and CHAOS_SEED
// ask for others; without a seed each run has one of its own, which is in the output.
func TestChaos(t *testing.T) {
	t.Parallel()
	keysteward, geth := programs(t)
	p := program{
		keysteward: keysteward, geth: geth, failpoints: true, nodes: 3, duration: budget,
		seed: uint64(time.Now().UnixNano()), gap: 2 * time.Second, think: 50 * time.Millisecond,
		keep: filepath.Join(t.TempDir(), "chaos"), disks: mayMount(),
	}
	var err error
	if text := os.Getenv("CHAOS_DURATION"); text != "" {
		p.duration, err = time.ParseDuration(text)
		require.NoError(t, err, "CHAOS_DURATION")
	}
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		p.seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "CHAOS_SEED")
	}
	var out bytes.Buffer
	err = p.run(t.Context(), &out)
	if err == nil {
		t.Log(out.String()[strings.LastIndex(out.String(), "all is healed"):])
		return
	}
	t.Log(out.String())
	for i := range p.nodes {
		log, _ := os.ReadFile(filepath.Join(p.keep, "cluster", "n"+strconv.Itoa(i+1), "log"))
		t.Logf("end of the log of n%d:\n%s", i+1, log[max(0, len(log)-20_000):])
	}
	require.NoError(t, err)
}
