package cli

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/clienttest"
)

// deletes returns the queries of the releases that the cluster was asked for.
func deletes(t *testing.T, cluster *clienttest.Cluster) (queries []url.Values) {
	t.Helper()
	for _, r := range cluster.Requests() {
		if r.Method == http.MethodDelete {
			query, err := url.ParseQuery(r.Query)
			require.NoError(t, err)
			queries = append(queries, query)
		}
	}
	return queries
}

// askOnce asks for a key for pod a, which has to wait for it.
func askOnce(t *testing.T, cluster *clienttest.Cluster, uid string) {
	t.Helper()
	c, err := client.New(client.Config{Servers: cluster.URLs(), Token: clienttest.Token})
	require.NoError(t, err)
	defer c.Close()
	_, pending, err := c.Allocate(t.Context(), wire.AllocationRequest{Namespace: "default", Pod: "a", PodUID: uid, Keys: 1}, 0)
	require.NoError(t, err)
	require.NotNil(t, pending)
}

func TestRelease(t *testing.T) {
	t.Parallel()
	t.Run("free at once", func(t *testing.T) {
		t.Parallel()
		cluster := stocked(t)
		got := at(cluster).run(t, "release", "--pod", "validator-0")
		require.Zero(t, got.code, got.err)
		require.Equal(t, "2 keys of pod default/validator-0 (UID uid): back in the pool\n", got.out)
		require.Nil(t, cluster.Allocation("default", "validator-0"))
		require.Equal(t, "uid", deletes(t, cluster)[0].Get("podUid"), "the UID that was looked up goes along")
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
		require.Equal(t, "2 keys of pod default/validator-0 (UID uid): resting until an operator says that the pod is stopped\n", got.out)
		got = at(cluster).run(t, "release", "--pod", "validator-0", "--pod-uid", "uid", "--confirm-stopped", "-q")
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

// The word that a pod is stopped must not count for the next pod of the same name.
func TestReleaseRepeatedSparesTheNextPod(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	require.Zero(t, sh.run(t, allocateArgs(t.TempDir(), "a", "1", "teku", "--pod-uid", "old")...).code)
	confirm := []string{"release", "--pod", "a", "--pod-uid", "old", "--confirm-stopped"}
	got := sh.run(t, confirm...)
	require.Zero(t, got.code, got.err)
	require.Equal(t, "1 key of pod default/a (UID old): back in the pool\n", got.out)
	require.Equal(t, "old", deletes(t, cluster)[0].Get("podUid"))

	done := said{out: "nothing to do: UID old of pod default/a holds nothing\n"}
	require.Equal(t, done, sh.run(t, confirm...), "nobody has the name")
	require.Zero(t, sh.run(t, allocateArgs(t.TempDir(), "a", "1", "teku", "--pod-uid", "new")...).code)
	next := cluster.Allocation("default", "a")
	require.Equal(t, "new", next.PodUID)
	require.Equal(t, done, sh.run(t, confirm...), "another one has the name")
	require.Equal(t, next, cluster.Allocation("default", "a"))
}

// Between looking up and releasing another UID takes over the name.
func TestReleaseIsOutrun(t *testing.T) {
	t.Parallel()
	for _, uid := range []string{"", "old"} {
		cluster := clienttest.Start(t, 1)
		sh := at(cluster)
		require.Zero(t, sh.run(t, allocateArgs(t.TempDir(), "a", "1", "teku", "--pod-uid", "new")...).code)
		held := cluster.Allocation("default", "a")
		cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet {
				return false
			}
			before := *held
			before.PodUID = "old"
			clienttest.Answer(w, wire.PodStatus{Allocation: before})
			return true
		}
		args := []string{"release", "--pod", "a"}
		if uid != "" {
			args = append(args, "--pod-uid", uid, "--confirm-stopped")
		}
		got := sh.run(t, args...)
		if uid == "" {
			require.Equal(t, ExitFailure, got.code)
			require.Contains(t, got.err, "not-found")
		} else {
			require.Equal(t, said{out: "nothing to do: UID old of pod default/a holds nothing\n"}, got)
		}
		require.Equal(t, held, cluster.Allocation("default", "a"))
	}
}

func TestReleaseWithdrawsARequest(t *testing.T) {
	t.Parallel()
	for _, more := range [][]string{nil, {"--pod-uid", "u"}, {"--fence", "0"}} {
		cluster := clienttest.Start(t, 1)
		cluster.PendingFor = -1
		sh := at(cluster)
		askOnce(t, cluster, "u")
		got := sh.run(t, append([]string{"release", "--pod", "a"}, more...)...)
		require.Equal(t, said{out: "pod default/a (UID u) no longer waits for keys\n"}, got)
		require.Equal(t, url.Values{"fence": {"0"}, "podUid": {"u"}}, deletes(t, cluster)[0])
	}
}

// A pod that waits behind the keys of an earlier UID is told from that one.
func TestReleaseOfAnEarlierUID(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	require.Zero(t, sh.run(t, allocateArgs(t.TempDir(), "a", "1", "teku", "--pod-uid", "old")...).code)
	askOnce(t, cluster, "new")
	require.Contains(t, sh.run(t, "release", "--pod", "a", "--pod-uid", "new").out, "(UID new) no longer waits")
	require.NotNil(t, cluster.Allocation("default", "a"))
	require.Contains(t, sh.run(t, "release", "--pod", "a").out, "(UID old): back in the pool")
}
