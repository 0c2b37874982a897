package devchain

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ask sends a request through handler.
func ask(t *testing.T, handler http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	return recorder
}

func TestGatePassesAnswers(t *testing.T) {
	t.Parallel()
	answer := ask(t, new(gate).hold(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/tea")
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte("one "))
		_, _ = w.Write([]byte("two"))
	})))
	require.Equal(t, http.StatusTeapot, answer.Code)
	require.Equal(t, "one two", answer.Body.String())
	require.Equal(t, "text/tea", answer.Header().Get("Content-Type"))
}

// TestGateHoldsAnswers computes an answer in the middle of sealing: the computation must go
// on, because it may be what waits for the block, but the answer must stay.
func TestGateHoldsAnswers(t *testing.T) {
	t.Parallel()
	var durable gate
	computed, answered := make(chan struct{}), make(chan struct{})
	handler := durable.hold(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(computed) }))
	err := durable.seal(func() error {
		go func() {
			defer close(answered)
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
		}()
		<-computed
		select {
		case <-answered:
			return errors.New("the answer left before the block was on disk")
		case <-time.After(50 * time.Millisecond):
			return nil
		}
	})
	require.NoError(t, err)
	<-answered
}

func TestGateShutsAfterFailure(t *testing.T) {
	t.Parallel()
	var durable gate
	disk := errors.New("disk")
	require.ErrorIs(t, durable.seal(func() error { return disk }), disk)
	answer := ask(t, durable.hold(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("a block that nobody can vouch for"))
	})))
	require.Equal(t, http.StatusInternalServerError, answer.Code)
	require.NotContains(t, answer.Body.String(), "vouch")
}

func TestSealingEndsWithTheDisk(t *testing.T) {
	t.Parallel()
	disk := errors.New("disk")
	chain := &Chain{
		config: Config{Period: time.Millisecond}, log: slog.New(slog.DiscardHandler),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	calls := 0
	chain.sealBlocks(func() error {
		if calls++; calls == 3 {
			return disk
		}
		return nil
	})
	<-chain.Done()
	require.Equal(t, 3, calls)
	require.ErrorIs(t, chain.failure, disk)
}
