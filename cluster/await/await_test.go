package await

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	errLate   = errors.New("late")
	errBroken = errors.New("broken")
)

func TestUntil(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		check func(looks int) (bool, error)
		want  error
		takes time.Duration
	}{
		"at once": {func(int) (bool, error) { return true, nil }, nil, 0},
		"later":   {func(looks int) (bool, error) { return looks == 3, nil }, nil, 2 * look},
		"never":   {func(int) (bool, error) { return false, nil }, errLate, time.Second},
		"it fails": {func(looks int) (bool, error) {
			if looks == 2 {
				return false, errBroken
			}
			return false, nil
		}, errBroken, look},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began, looks := time.Now(), 0
				err := Until(t.Context(), time.Second, errLate, func() (bool, error) { looks++; return tc.check(looks) })
				require.ErrorIs(t, err, tc.want)
				require.Equal(t, tc.takes, time.Since(began))
			})
		})
	}
}

func TestForEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	require.ErrorIs(t, For(ctx, time.Hour, errLate, func() bool { return false }), errBroken)
}
