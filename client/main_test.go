package client

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keysteward/keysteward/client/clienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeClock makes pauses pass at once and remembers them.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	slept  []time.Duration
	before func(n int) // called before the n-th pause
}

func (f *fakeClock) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fakeClock) Sleep(ctx context.Context, d time.Duration) error {
	f.mu.Lock()
	f.now = f.now.Add(d)
	f.slept = append(f.slept, d)
	n := len(f.slept)
	f.mu.Unlock()
	if f.before != nil {
		f.before(n)
	}
	return ctx.Err()
}

func (f *fakeClock) pauses() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.slept
}

// connect returns a client of a fake cluster, and its clock.
func connect(t *testing.T, cluster *clienttest.Cluster, change ...func(*Config)) (*Client, *fakeClock) {
	t.Helper()
	clock := &fakeClock{now: time.Unix(1_700_000_000, 0)}
	config := Config{Servers: cluster.URLs(), Token: clienttest.Token, Clock: clock}
	for _, c := range change {
		c(&config)
	}
	c, err := New(config)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, clock
}
