package keystore

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkWrite writes 64 keystores as an init container does.
func BenchmarkWrite(b *testing.B) {
	keys := testKeys(b, 64)
	for b.Loop() {
		result, err := Write(b.Context(), filepath.Join(b.TempDir(), "out"), Lighthouse, keys, Options{})
		require.NoError(b, err)
		require.Equal(b, 64, result.Written)
	}
}
