package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/ethereum"
)

// programs builds what a stage takes: the product with failpoints, and a real geth.
func programs(t *testing.T) (keysteward, geth string) {
	t.Helper()
	keysteward = filepath.Join(t.TempDir(), "keysteward")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "failpoints", "-o", keysteward, ".")
	build.Dir = filepath.Join("..", "..", "..")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	tool := exec.CommandContext(t.Context(), filepath.Join("..", "..", "..", "scripts", "tool"), "geth")
	tool.Stderr = os.Stderr
	path, err := tool.Output()
	require.NoError(t, err, "scripts/tool geth")
	return keysteward, strings.TrimSpace(string(path))
}

// One trial of each kind, the worst ones: bytes that are logged and whose sender
// dies; one who sleeps through the rest of it; and one who goes on alone with bytes
// that nobody logged. make crash tries them all.
func TestDepositsSurviveTheirLeaders(t *testing.T) {
	t.Parallel()
	keysteward, geth := programs(t)
	s, err := raise(t.Context(), keysteward, geth, filepath.Join(t.TempDir(), "stage"))
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"n1", "n2", "n3", "geth"} {
				t.Logf("log of %s:\n%s", name, s.nodes.LogTail(name))
			}
		}
		require.NoError(t, s.close())
	})
	for _, trial := range []trial{
		{point: ethereum.PointLogged, fault: faultKill, heal: answered, early: []int64{1, 2}, late: []int64{1}},
		{point: ethereum.PointSent, fault: faultPause, goOn: newLeads, heal: answered, early: []int64{1, 2}, late: []int64{1}},
		{point: ethereum.PointSigned, fault: faultCut, goOn: atOnce, heal: newLeads, early: []int64{1, 2}, late: []int64{1}},
	} {
		found, err := s.try(t.Context(), trial)
		require.NoError(t, err, "%s", trial)
		require.Empty(t, found, "%s", trial)
	}
	require.Empty(t, s.verify(t.Context()), "keysteward deposits verify")
}
