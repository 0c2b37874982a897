package clouds

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers is a session that answers every command with an error or nil.
type answers struct {
	mu   sync.Mutex
	err  error
	seen [][]*fsmpb.CertificateObservation
	hold chan struct{}
}

func (*answers) View() *fsm.View { return fsm.New().View() }

func (a *answers) Propose(ctx context.Context, cmd *fsmpb.Command) (any, error) {
	a.mu.Lock()
	a.seen = append(a.seen, cmd.GetObserveCertificates().GetObservations())
	a.mu.Unlock()
	select {
	case <-a.hold:
	case <-ctx.Done():
	}
	return nil, a.err
}

func observing(t *testing.T, a *answers) *observer {
	t.Helper()
	o := newObserver(a)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range proposers {
		all.Go(func() { o.run(ctx) })
	}
	t.Cleanup(func() { cancel(); all.Wait() })
	return o
}

// What is seen while commands are on their way goes into few commands, none of which
// is too large.
func TestObserverGathers(t *testing.T) {
	t.Parallel()
	a := &answers{hold: make(chan struct{})}
	o := observing(t, a)
	const many = 3 * maxObservations
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			text := ""
			if i%10 == 0 {
				text = strings.Repeat("x", 10<<10)
			}
			require.NoError(t, o.observe(t.Context(), &fsmpb.CertificateObservation{Round: uint64(i), Pem: text}))
		})
	}
	require.Eventually(t, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		a.mu.Lock()
		defer a.mu.Unlock()
		n := len(o.pending)
		for _, batch := range a.seen {
			n += len(batch)
		}
		return n == many
	}, patience, glance)
	close(a.hold)
	all.Wait()
	rounds := make(map[uint64]bool)
	for _, batch := range a.seen {
		size := 0
		for _, one := range batch {
			rounds[one.GetRound()] = true
			size += len(one.GetPem())
		}
		require.LessOrEqual(t, len(batch), maxObservations)
		require.LessOrEqual(t, size, maxObservationBytes)
	}
	require.Len(t, rounds, many)
	require.Less(t, len(a.seen), many/10)
}

func TestObserverTellsErrors(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	close(hold)
	unknown := errors.New("unknown")
	require.ErrorIs(t, observing(t, &answers{err: unknown, hold: hold}).observe(t.Context(), &fsmpb.CertificateObservation{}), unknown)
	late := &answers{err: fsm.Refused(fsm.StaleGeneration), hold: hold}
	require.NoError(t, observing(t, late).observe(t.Context(), &fsmpb.CertificateObservation{}), "it came too late, and is decided")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, observing(t, &answers{hold: make(chan struct{})}).observe(ctx, &fsmpb.CertificateObservation{}), context.Canceled)
}
