package faults_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/cluster/chaos/faults"
)

func TestGate(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
	t.Cleanup(server.Close)
	g, err := faults.NewGate(t.Context(), "127.0.0.1:0", server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(g.Close)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	ask := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.Address(), nil)
		require.NoError(t, err)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.Equal(t, "here", string(b))
		return err
	}
	require.NoError(t, ask())
	for range 2 {
		heal, err := g.Refuses("the server").Inject(t.Context())
		require.NoError(t, err)
		require.Error(t, ask())
		_, err = net.DialTimeout("tcp", g.Address(), time.Second)
		require.Error(t, err, "refused")
		_, err = g.Refuses("the server").Inject(t.Context())
		require.Error(t, err, "it is away")
		require.NoError(t, heal(t.Context()))
		require.NoError(t, ask())

		heal, err = g.Hangs("the server").Inject(t.Context())
		require.NoError(t, err)
		require.ErrorIs(t, ask(), context.DeadlineExceeded)
		_, err = g.Hangs("the server").Inject(t.Context())
		require.Error(t, err, "it is silent")
		require.NoError(t, heal(t.Context()))
		require.NoError(t, ask())
	}
}
