package cli

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/clienttest"
)

// refuse answers everything with a problem.
func refuse(status int, problemType, detail string) func(int, http.ResponseWriter, *http.Request) bool {
	return func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		clienttest.Problem(w, status, problemType, detail)
		return true
	}
}

// stocked is a cluster of which two pods have got keys.
func stocked(t *testing.T) *clienttest.Cluster {
	t.Helper()
	cluster := clienttest.Start(t, 3)
	cluster.Members = []string{"https://node-1:8443", "https://node-2:8443", ""}
	cluster.PageSize = 2
	c, err := client.New(client.Config{Servers: cluster.URLs(), Token: clienttest.Token})
	require.NoError(t, err)
	defer c.Close()
	for _, pod := range []string{"validator-1", "validator-0"} {
		_, _, err := c.Allocate(t.Context(), wire.AllocationRequest{Namespace: "default", Pod: pod, PodUID: "uid", Keys: 2}, 0)
		require.NoError(t, err)
	}
	return cluster
}

func TestTables(t *testing.T) {
	t.Parallel()
	cluster := stocked(t)
	sh := at(cluster)
	key := cluster.Key(1).PublicKey().String()
	tests := map[string][]string{
		"assignments.golden":   {"assignments"},
		"keys.golden":          {"keys", "list"},
		"keys-free.golden":     {"keys", "list", "--state", "free"},
		"key.golden":           {"keys", "show", key},
		"deposits.golden":      {"deposits", "list"},
		"deposit.golden":       {"deposits", "show", key},
		"cluster.golden":       {"cluster", "status"},
		"assignments-j.golden": {"assignments", "-o", "json"},
		"cluster-y.golden":     {"cluster", "status", "-o", "yaml"},
	}
	for name, args := range tests {
		got := sh.run(t, args...)
		require.Zero(t, got.code, got.err)
		require.Empty(t, got.err)
		golden(t, name, got.out)
	}
}

func TestJSONAndYAMLAgree(t *testing.T) {
	t.Parallel()
	sh := at(stocked(t))
	var fromJSON, fromYAML wire.KeyPage
	require.NoError(t, json.Unmarshal([]byte(sh.run(t, "keys", "list", "-o", "json").out), &fromJSON))
	require.NoError(t, yaml.Unmarshal([]byte(sh.run(t, "keys", "list", "-o", "yaml").out), &fromYAML))
	require.Equal(t, fromJSON, fromYAML)
	require.Len(t, fromJSON.Keys, 4, "all pages")
	require.Empty(t, fromJSON.NextCursor)
}

func TestNothingToList(t *testing.T) {
	t.Parallel()
	sh := at(clienttest.Start(t, 1))
	got := sh.run(t, "keys", "list", "-o", "json")
	require.JSONEq(t, `{"keys":[],"counts":{}}`, got.out)
	require.Contains(t, sh.run(t, "assignments").out, "0 keys of 0 pods")
	got = sh.run(t, "keys", "show", "0x"+zeros(96))
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "not-found")
}

func zeros(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = '0'
	}
	return string(b)
}

func TestRelease(t *testing.T) {
	t.Parallel()
	t.Run("free at once", func(t *testing.T) {
		t.Parallel()
		cluster := stocked(t)
		got := at(cluster).run(t, "release", "--pod", "validator-0")
		require.Zero(t, got.code, got.err)
		require.Equal(t, "2 keys of pod default/validator-0: back in the pool\n", got.out)
		require.Nil(t, cluster.Allocation("default", "validator-0"))
		got = at(cluster).run(t, "release", "--pod", "validator-0")
		require.Equal(t, ExitFailure, got.code)
		require.Contains(t, got.err, "not-found")
	})
	t.Run("resting, then confirmed", func(t *testing.T) {
		t.Parallel()
		cluster := stocked(t)
		cluster.RestOnRelease = true
		got := at(cluster).run(t, "release", "--pod", "validator-0", "--namespace", "default")
		require.Zero(t, got.code, got.err)
		require.Equal(t, "2 keys of pod default/validator-0: resting until an operator says that the pod is stopped\n", got.out)
		got = at(cluster).run(t, "release", "--pod", "validator-0", "--confirm-stopped", "-q")
		require.Zero(t, got.code, got.err)
		require.Empty(t, got.out)
		require.Nil(t, cluster.Allocation("default", "validator-0"))
	})
	t.Run("old fence", func(t *testing.T) {
		t.Parallel()
		cluster := stocked(t)
		got := at(cluster).run(t, "release", "--pod", "validator-0", "--fence", "99")
		require.Equal(t, ExitFailure, got.code)
		require.Contains(t, got.err, "409 stale-fence")
		require.NotNil(t, cluster.Allocation("default", "validator-0"))
	})
}
