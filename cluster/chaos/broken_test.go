package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What make chaos-broken breaks is still there to be broken.
func TestBrokenBuildsApply(t *testing.T) {
	t.Parallel()
	patches, err := filepath.Glob(filepath.Join("broken", "*.patch"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(patches), 4)
	for _, patch := range patches {
		t.Run(filepath.Base(patch), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(patch)
			require.NoError(t, err)
			apply := exec.CommandContext(t.Context(), "patch", "--dry-run", "--force", "-p1", "-d", filepath.Join("..", ".."))
			apply.Stdin = strings.NewReader(string(raw))
			out, err := apply.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.NotContains(t, string(out), "fuzz")
		})
	}
}
