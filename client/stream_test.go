package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/backup"
)

// streams is a client of a server that answers like this, with a short limit for requests.
func streams(t *testing.T, answer http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	c, err := New(Config{Servers: []string{server.URL}, RequestTimeout: 300 * time.Millisecond, BackoffMin: time.Millisecond, BackoffMax: time.Millisecond, RetryFor: 20 * time.Second})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// pace waits a moment, or until the request ends.
func pace(r *http.Request, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// A stream may take as long as it likes while something comes of it.
func TestSlowStream(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	c := streams(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", backup.MediaType)
		for range 12 {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			pace(r, 60*time.Millisecond)
		}
	})
	var got bytes.Buffer
	require.NoError(t, c.Backup(t.Context(), false, func(string) (io.Writer, error) { got.Reset(); return &got, nil }))
	require.Equal(t, "xxxxxxxxxxxx", got.String())
	require.Equal(t, int32(1), asked.Load())
}

// One of which nothing comes any more is begun anew.
func TestStreamThatStalls(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	c := streams(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", backup.MediaType)
		_, _ = w.Write([]byte("x"))
		_ = http.NewResponseController(w).Flush()
		if asked.Add(1) == 1 {
			pace(r, time.Minute)
		}
	})
	var got bytes.Buffer
	begun := 0
	require.NoError(t, c.Backup(t.Context(), true, func(string) (io.Writer, error) { begun++; got.Reset(); return &got, nil }))
	require.Equal(t, "x", got.String())
	require.Equal(t, 2, begun)
}

func TestStreamThatIsNoBackup(t *testing.T) {
	t.Parallel()
	c := streams(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) })
	err := c.Backup(t.Context(), false, func(string) (io.Writer, error) { return io.Discard, nil })
	require.ErrorIs(t, err, ErrAnswer)
}

var errDisk = errors.New("the disk is full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errDisk }

// What goes wrong on this side ends the call at once, and is told as what it is.
func TestStreamOntoAFullDisk(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	c := streams(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", backup.MediaType)
		_, _ = w.Write([]byte("x"))
	})
	require.ErrorIs(t, c.Backup(t.Context(), false, func(string) (io.Writer, error) { return fullDisk{}, nil }), errDisk)
	require.ErrorIs(t, c.Backup(t.Context(), false, func(string) (io.Writer, error) { return nil, errDisk }), errDisk)
	require.Equal(t, int32(2), asked.Load())
	_, err := c.RestoreBackup(t.Context(), RestoreWish{}, func() (io.ReadCloser, int64, error) { return nil, 0, errDisk })
	require.ErrorIs(t, err, errDisk)
	require.Equal(t, int32(2), asked.Load())
}

// Once all was sent the cluster may take its time; before that it may not.
func TestRestoreTakesItsTime(t *testing.T) {
	t.Parallel()
	stuck, over := atomic.Bool{}, make(chan struct{})
	c := streams(t, func(w http.ResponseWriter, r *http.Request) {
		if stuck.Load() {
			<-over // nobody tells a handler that does not read
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		pace(r, 700*time.Millisecond)
		_, _ = w.Write([]byte(`{"number":4}`))
	})
	defer close(over)
	content := bytes.Repeat([]byte("x"), 8<<20) // more than buffers hold
	open := func() (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader(content)), int64(len(content)), nil
	}
	done, err := c.RestoreBackup(t.Context(), RestoreWish{}, open)
	require.NoError(t, err)
	require.Equal(t, int64(4), done.Number)
	stuck.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = c.RestoreBackup(ctx, RestoreWish{}, open)
	require.ErrorIs(t, err, ErrOutcomeUnknown)
	require.NoError(t, ctx.Err(), "it does not wait for ever")
}
