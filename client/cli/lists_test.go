package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
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

// YAML 1.1 takes an unquoted 0x… for an integer.
func TestYAMLQuotesHexadecimals(t *testing.T) {
	t.Parallel()
	cluster := stocked(t)
	sh := at(cluster)
	unquoted := regexp.MustCompile(`(?m)(^|[\s:-])0x[0-9a-f]`)
	for _, args := range []string{"keys list", "assignments", "deposits list", "keys show " + cluster.Key(1).PublicKey().String()} {
		got := sh.run(t, append(strings.Fields(args), "-o", "yaml")...)
		require.Zero(t, got.code, got.err)
		require.Contains(t, got.out, `"0x`, args)
		require.NotRegexp(t, unquoted, got.out, args)
	}
}

func TestYAMLKeepsEveryText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.StringMatching(`(0x[0-9a-f]*|yes|- 0x1|a: 0x1|\n0x1| )+`))).Draw(t, "texts")
		var out bytes.Buffer
		require.NoError(t, printYAML(&out, map[string]any{"texts": texts}))
		var back struct{ Texts []string }
		require.NoError(t, yaml.Unmarshal(out.Bytes(), &back), out.String())
		require.Len(t, back.Texts, len(texts))
		for i, text := range texts {
			require.Equal(t, strings.ToValidUTF8(text, "\ufffd"), back.Texts[i])
		}
	})
}

// Only the leader knows how far the others lag behind.
func TestClusterStatusAsksTheLeader(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 3)
	cluster.Lead(2)
	got := at(cluster).run(t, "cluster", "status")
	require.Zero(t, got.code, got.err)
	require.NotContains(t, got.out, "unknown")

	cluster.Kill(2) // and nobody has noticed
	got = at(cluster).run(t, "cluster", "status")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "unknown", "a follower says what it knows")
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
