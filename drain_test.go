package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/cli"
)

const patience = 30 * time.Second

// running is a cluster of one node until stop, which does not wait.
func running(t *testing.T, more ...string) (url string, stop func(), done <-chan int) {
	t.Helper()
	var ports []string
	for range 2 {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ports = append(ports, l.Addr().String())
		require.NoError(t, l.Close())
	}
	flags, _ := flagsOf(t, append([]string{"--api-addr", ports[0], "--raft-addr", ports[1], "--log-level", "error"}, more...)...)
	for i, f := range flags {
		if f == "--peers" {
			flags[i+1] = "n1=" + ports[1]
		}
	}
	root := cli.New("test")
	root.AddCommand(newServerCommand())
	root.SetArgs(flags)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		ended <- cli.Run(ctx, root)
	}()
	t.Cleanup(func() {
		cancel()
		<-finished
	})
	return "http://" + ports[0], cancel, ended
}

// ready asks a node; status is 0 where nobody answers.
func ready(t *testing.T, url string) (status int, lines string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/readyz", nil)
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func requireReady(t *testing.T, url string, want int, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		status, lines := ready(t, url)
		return status == want && strings.Contains(lines, text)
	}, patience, 10*time.Millisecond, "%s: %d %s", url, want, text)
}

// A node that stops first says that it is not ready, on connections that are new too,
// and closes its port only after a while.
func TestDrain(t *testing.T) {
	t.Parallel()
	const drain = 2 * time.Second
	url, stop, done := running(t, "--drain", drain.String())
	requireReady(t, url, http.StatusOK, "")
	began := time.Now()
	stop()
	requireReady(t, url, http.StatusServiceUnavailable, "shutting down")
	var last time.Time
	require.Eventually(t, func() bool {
		status, _ := ready(t, url)
		if status == 0 {
			return true
		}
		last = time.Now()
		return false
	}, patience, 10*time.Millisecond, "it ends")
	require.Greater(t, last.Sub(began), drain/2)
	require.Equal(t, cli.ExitOK, <-done)
	require.GreaterOrEqual(t, time.Since(began), drain)
}

// The flag reaches the node: with a mark that no disk has it is not ready and says why.
func TestFreeDiskIsAsked(t *testing.T) {
	t.Parallel()
	url, _, _ := running(t, "--min-free-disk", "1Ei")
	requireReady(t, url, http.StatusServiceUnavailable, "is nearly full")
	off, _, _ := running(t, "--min-free-disk", "0")
	requireReady(t, off, http.StatusOK, "")
}
