package main

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A process ends also where something in it hangs.
func TestNothingIsWaitedForForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		own, release := errors.New("its own error"), make(chan struct{})
		require.ErrorIs(t, within(time.Minute, func() error { <-time.After(time.Second); return own }), own)
		begin := time.Now()
		err := within(time.Minute, func() error { <-release; return nil })
		require.ErrorIs(t, err, errGoesOn)
		require.ErrorContains(t, err, "TestNothingIsWaitedForForEver", "it says what hangs")
		require.Equal(t, time.Minute, time.Since(begin))
		close(release)
	})
}
