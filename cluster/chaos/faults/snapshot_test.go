package faults

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A node that loses an older snapshot starts, so only the newest is damaged.
func TestNewestSnapshot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := newestSnapshot(dir)
	require.ErrorIs(t, err, ErrNothingToDamage)
	for _, name := range []string{"9-999-1795378269073", "21-10065-1795378269074", "21-10806-1795378269072", "3-20000-1795378269079", "22-9-1.tmp"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	path, err := newestSnapshot(dir)
	require.NoError(t, err)
	require.Equal(t, "21-10806-1795378269072", filepath.Base(path))
}
