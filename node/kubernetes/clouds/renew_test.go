package clouds

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// The clock of the duty runs ahead of the signer's.
func testRenewal(t *testing.T, s *scene) {
	t.Helper()
	var ahead atomic.Int64
	s.lead(func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	s.cloud("c", []int{0}, func(c *fsmpb.LogicalCloud) { c.ExpirationSeconds = 3600 })
	s.instantiate("c")
	s.awaitUp("c")
	first := s.row("c", 0)
	require.Empty(t, first.GetCode())
	end := time.UnixMilli(first.GetNotAfterWallMs())
	due := time.Until(renewAt(first))
	require.Positive(t, due)
	require.Less(t, due, time.Until(end))

	ahead.Store(int64(due - 3*time.Second))
	s.eventually(func() bool { return s.row("c", 0).GetSerial() != first.GetSerial() }, "c", "it should be renewed")
	second := s.row("c", 0)
	require.GreaterOrEqual(t, second.GetRound(), uint64(2), "the next one may be due at once: each has a spread of its own")
	require.Equal(t, first.GetGeneration(), second.GetGeneration())
	require.Equal(t, fsmpb.CloudState_CLOUD_STATE_INSTANTIATED, s.get("c").GetState())
	requireUser(t, s.user("c", 0), s.get("c").GetKey().GetCommonName())
}

func TestRenewAtIsSpread(t *testing.T) {
	t.Parallel()
	at := make(map[time.Time]bool)
	for _, cloud := range []string{"a", "b", "c", "d"} {
		row := &fsmpb.Certificate{Cloud: cloud, NotBeforeWallMs: 0, NotAfterWallMs: 3_600_000, RenewWallMs: 2_400_000}
		when := renewAt(row)
		require.False(t, when.Before(time.UnixMilli(2_400_000)))
		require.True(t, when.Before(time.UnixMilli(2_400_000+180_000)))
		at[when] = true
	}
	require.Len(t, at, 4)
	require.Equal(t, time.UnixMilli(7), renewAt(&fsmpb.Certificate{RenewWallMs: 7}))
}
