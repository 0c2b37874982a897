package client

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

func writeJSON(w http.ResponseWriter, value any) {
	if err := json.NewEncoder(w).Encode(value); err != nil {
		panic(err)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 2)
	cluster.PageSize = 3
	c, _ := connect(t, cluster)
	_, _, err := c.Allocate(t.Context(), ask("a", 7), 0)
	require.NoError(t, err)

	var keys []wire.Key
	for key, err := range c.Keys(t.Context(), "") {
		require.NoError(t, err)
		keys = append(keys, key)
	}
	require.Len(t, keys, 7)
	for i, key := range keys {
		require.Equal(t, int64(i), key.Index)
		require.Equal(t, wire.KeyStateHeld, key.State)
	}
	for key, err := range c.Keys(t.Context(), wire.KeyStateFree) {
		t.Fatalf("no key is free, got %v, %v", key, err)
	}
	deposits := 0
	for deposit, err := range c.Deposits(t.Context(), "") {
		require.NoError(t, err)
		require.Equal(t, int64(deposits), deposit.Nonce)
		if deposits++; deposits == 5 {
			break
		}
	}
	require.Equal(t, 5, deposits)

	key, err := c.Key(t.Context(), cluster.Key(6).PublicKey())
	require.NoError(t, err)
	require.Equal(t, keys[6], key)
	_, err = c.Key(t.Context(), cluster.Key(7).PublicKey())
	require.True(t, IsType(err, TypeNotFound))
	deposit, err := c.Deposit(t.Context(), cluster.Key(6).PublicKey())
	require.NoError(t, err)
	require.Equal(t, int64(6), deposit.Nonce)
	_, err = c.Deposit(t.Context(), validator.PublicKey{})
	require.True(t, IsType(err, TypeNotFound))
}

func TestPagesInACircle(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Intercept = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		writeJSON(w, wire.KeyPage{NextCursor: "again"})
		return true
	}
	c, _ := connect(t, cluster)
	var last error
	for _, err := range c.Keys(t.Context(), "") {
		last = err
	}
	require.ErrorIs(t, last, ErrAnswer)
	require.Len(t, cluster.Requests(), 2)
}

func TestErrorEndsPages(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	c, _ := connect(t, cluster, func(config *Config) { config.Token = "wrong" })
	n := 0
	for _, err := range c.Deposits(t.Context(), "") {
		require.True(t, IsType(err, "unauthenticated"))
		n++
	}
	require.Equal(t, 1, n)
}

func TestAssignmentsAndStatus(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 3)
	c, _ := connect(t, cluster)
	for _, pod := range []string{"b", "a"} {
		_, _, err := c.Allocate(t.Context(), ask(pod, 2), 0)
		require.NoError(t, err)
	}
	list, err := c.Assignments(t.Context(), wire.ConsistencyStale)
	require.NoError(t, err)
	require.Equal(t, "a", list.Assignments[0].Pod)
	require.Equal(t, "b", list.Assignments[1].Pod)

	status, err := c.Allocation(t.Context(), "default", "a")
	require.NoError(t, err)
	require.Equal(t, list.Assignments[0], status.Allocation)
	require.Empty(t, status.Pending.ClusterID)

	members, err := c.Cluster(t.Context())
	require.NoError(t, err)
	require.Len(t, members.Nodes, 3)
	require.Equal(t, "node-1", members.Leader)

	ready, err := c.Ready(t.Context())
	require.NoError(t, err)
	require.True(t, ready.Ready)
}

func TestReadyOfOneThatIsNot(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 2)
	cluster.Intercept = func(node int, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		writeJSON(w, wire.Readiness{Node: map[int]string{0: "x", 1: "y"}[node]})
		return true
	}
	c, clock := connect(t, cluster)
	ready, err := c.Ready(t.Context())
	require.NoError(t, err)
	require.False(t, ready.Ready)
	require.Equal(t, "y", ready.Node)
	require.Empty(t, clock.pauses())
}

func TestSeed(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	c, _ := connect(t, cluster)
	status, err := c.Seed(t.Context())
	require.NoError(t, err)
	require.False(t, status.Installed)
	seal := func(status wire.SeedStatus, fill byte) error {
		seed := make([]byte, 64)
		seed[0] = fill
		sealed, err := status.Recipient.Seal(wire.SeedInfo(status.ClusterID), seed)
		require.NoError(t, err)
		return c.PutSeed(t.Context(), wire.SealedSeed{Recipient: status.Recipient, Sealed: sealed})
	}
	require.NoError(t, seal(status, 1))
	require.NoError(t, seal(status, 1))
	require.True(t, IsType(seal(status, 2), TypeSeedExists))
	cluster.ChangeRecipient()
	require.True(t, IsType(seal(status, 1), TypeStaleRecipient))
}

// Names are what Kubernetes takes, and never lead out of a path.
func TestNames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9.\-/%A-Z ]{0,80}`).Draw(t, "name")
		q, err := podCall(http.MethodGet, "default", name)
		if err != nil {
			require.ErrorIs(t, err, ErrRequest)
			return
		}
		server, err := parseServer("https://a/base")
		require.NoError(t, err)
		require.Equal(t, "/base/v1/allocations/default/"+name, sentTo(server, q).Path)
		require.Regexp(t, `^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`, name)
	})
}

// FuzzOrigin: two spellings of one origin are one, and what is accepted is https or loopback.
func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{"https://a", "HTTPS://A:443/", "http://localhost", "http://127.0.0.1.evil.example", "http://[::1]:80", "https://a@b", "http://localhost@evil.example", "//x", "https:a", "http://127.1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseServer(text)
		if err != nil {
			require.ErrorIs(t, err, ErrServer)
			return
		}
		require.True(t, u.Scheme == "https" || isLoopback(u.Hostname()), text)
		require.Nil(t, u.User)
		again, err := parseServer(origin(u))
		require.NoError(t, err)
		require.Equal(t, origin(u), origin(again))
	})
}

// FuzzOpen: no answer, however made, panics or is accepted with a wrong key.
func FuzzOpenSecrets(f *testing.F) {
	f.Add([]byte(`{"fence":1,"keys":[{"pubkey":"0x","path":"","secret":"AAAA"}]}`), "0x00")
	f.Add([]byte(`null`), "")
	f.Add([]byte(`{"fence":1,"keys":[]}`), "x")
	private, recipient, err := wire.NewRecipient(wire.KEMX25519)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, plaintext []byte, key string) {
		request := ask("a", 1)
		sealed, err := recipient.Seal(wire.AllocationInfo("c", request.Namespace, request.Pod, request.PodUID), plaintext)
		require.NoError(t, err)
		a := wire.Allocation{ClusterID: "c", Fence: 1, Keys: []string{key}, Secrets: sealed}
		set, err := openSecrets(private, "c", request, a)
		if err != nil {
			require.ErrorIs(t, err, ErrAnswer)
			return
		}
		require.Equal(t, set.Keys[0].PublicKey, set.Keys[0].Secret.PublicKey())
	})
}
