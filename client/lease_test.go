package client

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

func TestRenewLease(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 3)
	other := false
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if other && r.URL.Path == "/v1/cluster" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"clusterId":"another"}`))
			return true
		}
		return false
	}
	c, err := New(Config{Servers: cluster.URLs(), Token: clienttest.Token, RetryFor: time.Second})
	require.NoError(t, err)
	defer c.Close()
	renew := func(uid string, begin bool) (wire.Lease, error) {
		return c.RenewLease(t.Context(), "default", "a", uid, begin)
	}

	_, err = renew("u", false)
	require.True(t, IsType(err, TypeLeasesOff), "%v", err)
	cluster.LeaseDuration = 5 * time.Minute
	_, err = renew("u", true)
	require.True(t, IsType(err, TypeNotTheHolder), "%v", err)
	_, _, err = c.Allocate(t.Context(), wire.AllocationRequest{Namespace: "default", Pod: "a", PodUID: "u", Keys: 1}, 0)
	require.NoError(t, err)
	lease, err := renew("u", true)
	require.NoError(t, err)
	require.Equal(t, wire.Lease{ClusterID: clienttest.ClusterID, DurationMs: 300_000, Fence: 1, Begun: true}, lease)
	_, err = renew("other", true)
	require.True(t, IsType(err, TypeNotTheHolder), "%v", err)

	other = true
	_, err = renew("other", true)
	require.ErrorIs(t, err, ErrAnswer, "another cluster knows nothing of our pods")
	require.False(t, IsType(err, TypeNotTheHolder))
}
