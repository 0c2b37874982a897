package client

import (
	"encoding/hex"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

func foreignKeys(t *testing.T, n int) []*validator.SecretKey {
	t.Helper()
	keys := make([]*validator.SecretKey, n)
	for i := range keys {
		raw := make([]byte, 32)
		raw[1], raw[30], raw[31] = 9, byte(i>>8), byte(i)
		var err error
		keys[i], err = validator.SecretKeyFromBytes(raw)
		require.NoError(t, err)
	}
	return keys
}

func requireImported(t *testing.T, keys []*validator.SecretKey, results []wire.ImportedKey, want wire.ImportResult) {
	t.Helper()
	require.Len(t, results, len(keys))
	for i, r := range results {
		require.Equal(t, wire.ImportedKey{Pubkey: keys[i].PublicKey().String(), Result: want}, r)
	}
}

func posts(cluster *clienttest.Cluster) int {
	n := 0
	for _, r := range cluster.Requests() {
		if r.Method == http.MethodPost && r.Path == "/v1/keys/import" {
			n++
		}
	}
	return n
}

func TestImportKeysInBatches(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	c, _ := connect(t, cluster)
	keys := foreignKeys(t, 450)
	var told []int
	results, err := c.ImportKeys(t.Context(), keys, func(done int) { told = append(told, done) })
	require.NoError(t, err)
	requireImported(t, keys, results, wire.ImportResultImported)
	require.Equal(t, []int{200, 400, 450}, told)
	require.Equal(t, 3, posts(cluster))
	require.Len(t, cluster.Imported(), 450)

	results, err = c.ImportKeys(t.Context(), keys, nil)
	require.NoError(t, err)
	requireImported(t, keys, results, wire.ImportResultKnown)
	results, err = c.ImportKeys(t.Context(), nil, nil)
	require.NoError(t, err)
	require.Empty(t, results)
	require.NotEqual(t, make([]byte, 32), keys[0].Bytes(), "the secrets remain the caller's")
}

func TestImportFollowsTheLeader(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 3)
	var changes atomic.Int32
	cluster.Intercept = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && changes.Add(1) <= 2 {
			cluster.ChangeRecipient()
			cluster.Lead(2)
		}
		return false
	}
	keys := foreignKeys(t, 2)
	c, _ := connect(t, cluster)
	results, err := c.ImportKeys(t.Context(), keys, nil)
	require.NoError(t, err)
	requireImported(t, keys, results, wire.ImportResultImported)
}

func TestImportWhenTheLeaderAlwaysChanges(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Intercept = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			cluster.ChangeRecipient()
		}
		return false
	}
	c, _ := connect(t, cluster)
	_, err := c.ImportKeys(t.Context(), foreignKeys(t, 1), nil)
	require.True(t, IsType(err, TypeStaleRecipient), "%v", err)
	require.Equal(t, 5, posts(cluster))
}

// The first batch is certain when the second one fails.
func TestImportThatBreaksOff(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	var n atomic.Int32
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || n.Add(1) == 1 {
			return false
		}
		clienttest.Problem(w, http.StatusForbidden, "forbidden", "no longer")
		return true
	}
	keys := foreignKeys(t, 300)
	c, _ := connect(t, cluster)
	results, err := c.ImportKeys(t.Context(), keys, nil)
	require.True(t, IsType(err, "forbidden"), "%v", err)
	require.ErrorContains(t, err, "201 to 300 of 300")
	requireImported(t, keys[:200], results, wire.ImportResultImported)
}

func TestImportAnswersThatAreNotBelieved(t *testing.T) {
	t.Parallel()
	keys := foreignKeys(t, 2)
	a, b := keys[0].PublicKey().String(), keys[1].PublicKey().String()
	one := func(key, result string) string { return `{"pubkey":"` + key + `","result":"` + result + `"}` }
	for name, body := range map[string]string{
		"nothing":        `{}`,
		"too few":        `{"keys":[` + one(a, "imported") + `]}`,
		"too many":       `{"keys":[` + one(a, "known") + `,` + one(b, "known") + `,` + one(b, "known") + `]}`,
		"other order":    `{"keys":[` + one(b, "known") + `,` + one(a, "known") + `]}`,
		"unknown result": `{"keys":[` + one(a, "known") + `,` + one(b, "eaten") + `]}`,
		"no JSON":        `imported`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 1)
			cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPost {
					return false
				}
				_, _ = w.Write([]byte(body))
				return true
			}
			c, _ := connect(t, cluster)
			results, err := c.ImportKeys(t.Context(), keys, nil)
			require.ErrorIs(t, err, ErrAnswer)
			require.Empty(t, results)
			require.NotContains(t, err.Error(), hex.EncodeToString(keys[0].Bytes()))
		})
	}
}

func TestImportIntoAnotherCluster(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	c, _ := connect(t, cluster)
	_, err := c.ImportKeys(t.Context(), foreignKeys(t, 1), nil)
	require.NoError(t, err)
	for id, want := range map[string]string{"": "not founded", "another": "another"} {
		cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v1/seed" {
				return false
			}
			_, _ = w.Write([]byte(`{"clusterId":"` + id + `","installed":true,"recipient":{"kem":32,"key":""}}`))
			return true
		}
		_, err = c.ImportKeys(t.Context(), foreignKeys(t, 1), nil)
		require.ErrorContains(t, err, want)
	}
}

func TestConfirmStopped(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	c, _ := connect(t, cluster)
	keys := foreignKeys(t, 2)
	_, err := c.ImportKeys(t.Context(), keys, nil)
	require.NoError(t, err)
	pubkey, fence := keys[0].PublicKey(), cluster.Imported()[0].Fence
	require.True(t, IsType(c.ConfirmStopped(t.Context(), pubkey, fence+1), TypeStaleFence))
	require.NoError(t, c.ConfirmStopped(t.Context(), pubkey, fence))
	require.NoError(t, c.ConfirmStopped(t.Context(), pubkey, fence))
	require.Equal(t, wire.KeyStateFree, cluster.Imported()[0].State)
	require.Equal(t, wire.KeyStateResting, cluster.Imported()[1].State)
	stranger := validator.PublicKey{1}
	require.True(t, IsType(c.ConfirmStopped(t.Context(), stranger, 1), TypeNotFound))
}

// The answer to the first try is lost, and meanwhile the key goes to a pod.
func TestConfirmStoppedMeetsItsOwnEffect(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	var n atomic.Int32
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/confirm-stopped") {
			return false
		}
		if n.Add(1) == 1 {
			clienttest.Problem(w, http.StatusServiceUnavailable, "outcome-unknown", "who knows")
		} else {
			clienttest.Problem(w, http.StatusConflict, "stale-fence", "the key has moved on")
		}
		return true
	}
	c, _ := connect(t, cluster)
	require.NoError(t, c.ConfirmStopped(t.Context(), validator.PublicKey{1}, 3))
	require.Equal(t, int32(2), n.Load())
}

func TestAllKeys(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.PageSize = 2
	c, _ := connect(t, cluster)
	keys := foreignKeys(t, 5)
	_, err := c.ImportKeys(t.Context(), keys, nil)
	require.NoError(t, err)
	all, err := c.AllKeys(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 5)
	require.True(t, all[keys[3].PublicKey()].Imported)
	cluster.Import(wire.Key{Pubkey: "0x12", State: wire.KeyStateFree})
	_, err = c.AllKeys(t.Context())
	require.ErrorIs(t, err, ErrAnswer)
}
