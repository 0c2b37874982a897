package podtoken

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/time/rate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reviews counts what is asked and answers what it is told to.
type reviews struct {
	n      atomic.Int64
	answer func(ctx context.Context, token string) (Pod, error)
}

func (r *reviews) Review(ctx context.Context, token string) (Pod, error) {
	r.n.Add(1)
	return r.answer(ctx, token)
}

var testPod = Pod{Namespace: "ns", Name: "p", UID: "u", ServiceAccount: "s"}

func always(pod Pod, err error) *reviews {
	return &reviews{answer: func(context.Context, string) (Pod, error) { return pod, err }}
}

func goodToken(n int, lasts time.Duration) string {
	return jwt(claimsOf(fmt.Sprintf(`["keysteward","%d"]`, n), time.Now().Add(lasts).Unix()))
}

func TestAnswersAreKeptBriefly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   error
		lasts time.Duration
		kept  time.Duration
	}{
		"accepted":             {nil, time.Hour, KeepAccepted},
		"not beyond the token": {nil, 4 * time.Second, 4 * time.Second},
		"refused":              {fmt.Errorf("%w: gone", ErrRefused), time.Hour, KeepRefused},
		"nobody knows":         {fmt.Errorf("%w: away", ErrUnavailable), time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := always(testPod, c.err)
				cache := NewCache(r, "keysteward")
				token := goodToken(1, c.lasts)
				ask := func() {
					pod, err := cache.Review(t.Context(), token)
					require.ErrorIs(t, err, c.err)
					if c.err == nil {
						require.Equal(t, testPod, pod)
					}
				}
				ask()
				require.EqualValues(t, 1, r.n.Load())
				if c.kept > 0 {
					<-time.After(c.kept - time.Millisecond)
					ask()
					require.EqualValues(t, 1, r.n.Load(), "it was known")
					<-time.After(time.Millisecond)
				}
				ask()
				require.EqualValues(t, 2, r.n.Load(), "it was forgotten")
			})
		})
	}
}

func TestWhatLooksWrongIsNotAsked(t *testing.T) {
	t.Parallel()
	r := always(testPod, nil)
	cache := NewCache(r, "keysteward")
	for _, token := range []string{"", "kst_x", jwt(claimsOf(`["other"]`, time.Now().Unix()+600)), jwt(claimsOf(`["keysteward"]`, 5))} {
		_, err := cache.Review(t.Context(), token)
		require.ErrorIs(t, err, ErrRefused)
		require.ErrorIs(t, cache.Look(token), ErrRefused)
	}
	require.NoError(t, cache.Look(goodToken(1, time.Hour)))
	require.Zero(t, r.n.Load())
	require.Zero(t, cache.size())
}

func TestReviewOfNoPodIsRefused(t *testing.T) {
	t.Parallel()
	for _, pod := range []Pod{{}, {Namespace: "ns", Name: "p"}, {Namespace: "ns", UID: "u"}, {Name: "p", UID: "u"}} {
		_, err := NewCache(always(pod, nil), "keysteward").Review(t.Context(), goodToken(1, time.Hour))
		require.ErrorIs(t, err, ErrRefused)
	}
}

func TestOneReviewPerTokenAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		released := make(chan struct{})
		r := &reviews{answer: func(context.Context, string) (Pod, error) {
			<-released
			return testPod, nil
		}}
		cache := NewCache(r, "keysteward")
		token := goodToken(1, time.Hour)
		first, giveUp := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 20 {
			ctx := t.Context()
			if i == 0 {
				ctx = first
			}
			wg.Go(func() {
				pod, err := cache.Review(ctx, token)
				require.NoError(t, err)
				require.Equal(t, testPod, pod)
			})
			synctest.Wait()
		}
		giveUp() // which takes nothing from the others
		synctest.Wait()
		close(released)
		wg.Wait()
		require.EqualValues(t, 1, r.n.Load())
	})
}

func TestAWaitingCallerMayGoAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &reviews{answer: func(ctx context.Context, _ string) (Pod, error) {
			<-ctx.Done()
			return Pod{}, errors.Join(ErrUnavailable, ctx.Err())
		}}
		cache := NewCache(r, "keysteward")
		token := goodToken(1, time.Hour)
		began := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := cache.Review(t.Context(), token)
			require.ErrorIs(t, err, ErrUnavailable)
			require.Equal(t, reviewTimeout, time.Since(began), "a review has a time limit")
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := cache.Review(ctx, token)
		require.ErrorIs(t, err, ErrUnavailable)
		require.Equal(t, time.Second, time.Since(began))
		wg.Wait()
	})
}

// A flood of tokens that look right costs Kubernetes no more than the bound, and
// us no more memory than the bound.
func TestFloodIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := always(Pod{}, fmt.Errorf("%w: forged", ErrRefused))
		cache := NewCache(r, "keysteward")
		turnedAway := 0
		for i := range maxKept + 5000 {
			_, err := cache.Review(t.Context(), goodToken(i, time.Hour))
			if errors.Is(err, ErrUnavailable) {
				turnedAway++
			}
		}
		require.EqualValues(t, reviewBurst, r.n.Load())
		require.Equal(t, maxKept+5000-reviewBurst, turnedAway)
		require.LessOrEqual(t, cache.size(), maxKept)
		<-time.After(KeepRefused)
		_, err := cache.Review(t.Context(), goodToken(-1, time.Hour))
		require.ErrorIs(t, err, ErrRefused)
		require.EqualValues(t, reviewBurst+1, r.n.Load())
		require.Equal(t, 1, cache.size(), "what is over is forgotten")
	})
}

func TestAcceptedAnswersAreBoundedToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := NewCache(always(testPod, nil), "keysteward")
		cache.limiter = rate.NewLimiter(rate.Inf, 0)
		for i := range maxKept + 100 {
			_, err := cache.Review(t.Context(), goodToken(i, time.Hour))
			require.NoError(t, err)
		}
		require.Equal(t, maxKept, cache.size())
		require.Len(t, cache.kept, maxKept)
	})
}
