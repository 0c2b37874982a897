package node

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPercentFor(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{
		0: mostPercent, 1 << 20: mostPercent, 16 << 20: 800, 128 << 20: 100, 1 << 30: 100,
	} {
		require.Equal(t, want, percentFor(live), live)
	}
}
