package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

func options(pod string, keys int64) AllocateOptions {
	return AllocateOptions{Namespace: "default", Pod: pod, PodUID: "uid-" + pod, Keys: keys}
}

func TestAllocateKeys(t *testing.T) {
	t.Parallel()
	for _, kem := range []wire.RecipientKem{0, wire.KEMX25519, wire.KEMMLKEM768X25519} {
		t.Run(strconv.Itoa(int(kem)), func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 3)
			cluster.PendingFor = 3
			cluster.Lead(1)
			c, _ := connect(t, cluster)
			var ready []int
			asked := options("a", 4)
			asked.KEM = kem
			set, err := c.AllocateKeys(t.Context(), asked, func(p Progress) { ready = append(ready, p.Pending.Ready) })
			require.NoError(t, err)
			require.Equal(t, []int{0, 1, 2}, ready)
			var queries []string
			for _, request := range cluster.Requests() {
				if request.Method == http.MethodPost && request.Node == 1 {
					queries = append(queries, request.Query)
				}
			}
			require.Equal(t, []string{"", "wait=20s", "wait=20s", "wait=20s"}, queries)
			require.Len(t, set.Keys, 4)
			require.Equal(t, int64(1), set.Allocation.Fence)
			require.Empty(t, set.Allocation.Secrets)
			for i, key := range set.Keys {
				want := cluster.Key(uint64(i))
				require.Equal(t, want.Bytes(), key.Secret.Bytes())
				require.Equal(t, want.PublicKey(), key.PublicKey)
				require.Equal(t, fmt.Sprintf("m/12381/3600/%d/0/0", i), key.Path)
			}
			require.NotContains(t, fmt.Sprintf("%v %+v %#v", set, set.Keys, set.Keys[0]), hex.EncodeToString(set.Keys[0].Secret.Bytes()))
			set.Zero()
			require.Equal(t, make([]byte, 32), set.Keys[3].Secret.Bytes())
		})
	}
}

func TestAllocateKeysRefusesRequests(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	c, _ := connect(t, cluster)
	tests := map[string]AllocateOptions{
		"no namespace":       {Pod: "a", PodUID: "u", Keys: 1},
		"path in a name":     {Namespace: "default", Pod: "../a", PodUID: "u", Keys: 1},
		"capital":            {Namespace: "default", Pod: "A", PodUID: "u", Keys: 1},
		"no UID":             {Namespace: "default", Pod: "a", Keys: 1},
		"UID with a slash":   {Namespace: "default", Pod: "a", PodUID: "u/v", Keys: 1},
		"no keys":            {Namespace: "default", Pod: "a", PodUID: "u"},
		"fewer than no keys": {Namespace: "default", Pod: "a", PodUID: "u", Keys: -1},
		"unknown KEM":        {Namespace: "default", Pod: "a", PodUID: "u", Keys: 1, KEM: 16},
	}
	for name, asked := range tests {
		_, err := c.AllocateKeys(t.Context(), asked, nil)
		require.ErrorIs(t, err, ErrRequest, name)
	}
	_, err := c.Allocation(t.Context(), "default", "../../keys")
	require.ErrorIs(t, err, ErrRequest)
	require.Empty(t, cluster.Requests())
}

// Whatever a server or somebody between answers wrongly is refused whole.
func TestUntrustworthyAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		tamper func(outer *wire.Allocation, inner *wire.AllocationSecrets)
		says   string
	}{
		{"another cluster", func(o *wire.Allocation, _ *wire.AllocationSecrets) { o.ClusterID = "other" }, "cluster"},
		{"another namespace", func(o *wire.Allocation, _ *wire.AllocationSecrets) { o.Namespace = "other" }, "is for pod"},
		{"another pod", func(o *wire.Allocation, _ *wire.AllocationSecrets) { o.Pod = "other" }, "is for pod"},
		{"another UID", func(o *wire.Allocation, _ *wire.AllocationSecrets) { o.PodUID = "other" }, "is for pod"},
		{"not held", func(o *wire.Allocation, _ *wire.AllocationSecrets) { o.State = wire.AllocationStateResting }, "resting"},
		{"too few keys", func(o *wire.Allocation, i *wire.AllocationSecrets) { o.Keys, i.Keys = o.Keys[:2], i.Keys[:2] }, "2 keys"},
		{"fewer secrets", func(_ *wire.Allocation, i *wire.AllocationSecrets) { i.Keys = i.Keys[:2] }, "secrets of 2"},
		{"lower fence", func(o *wire.Allocation, i *wire.AllocationSecrets) { o.Fence, i.Fence = 4, 4 }, "5 was seen"},
		{"fences differ", func(_ *wire.Allocation, i *wire.AllocationSecrets) { i.Fence++ }, "fence"},
		{"other order outside", func(o *wire.Allocation, _ *wire.AllocationSecrets) { slices.Reverse(o.Keys) }, "the secrets have"},
		{"other order inside", func(_ *wire.Allocation, i *wire.AllocationSecrets) { slices.Reverse(i.Keys) }, "the secrets have"},
		{"swapped secrets", func(_ *wire.Allocation, i *wire.AllocationSecrets) {
			i.Keys[0].Secret, i.Keys[1].Secret = i.Keys[1].Secret, i.Keys[0].Secret
		}, "is that of"},
		{"same key twice", func(o *wire.Allocation, i *wire.AllocationSecrets) { o.Keys[1], i.Keys[1] = o.Keys[0], i.Keys[0] }, "twice"},
		{"no public key", func(o *wire.Allocation, _ *wire.AllocationSecrets) { o.Keys[0] = "0x12" }, "public key"},
		{"zero secret", func(_ *wire.Allocation, i *wire.AllocationSecrets) { i.Keys[0].Secret = make([]byte, 32) }, "secret key"},
		{"path out of a folder", func(_ *wire.Allocation, i *wire.AllocationSecrets) { i.Keys[0].Path = "../../x" }, "path"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 1)
			cluster.Tamper = func(outer *wire.Allocation, inner *wire.AllocationSecrets) {
				outer.Fence, inner.Fence = 5, 5
				test.tamper(outer, inner)
			}
			c, _ := connect(t, cluster)
			asked := options("a", 3)
			asked.MinFence = 5
			set, err := c.AllocateKeys(t.Context(), asked, nil)
			require.ErrorIs(t, err, ErrAnswer)
			require.ErrorContains(t, err, test.says)
			require.Nil(t, set)
			for i := range uint64(3) {
				require.NotContains(t, err.Error(), hex.EncodeToString(cluster.Key(i).Bytes()))
			}
		})
	}
}

func TestSecretsForOthersDoNotOpen(t *testing.T) {
	t.Parallel()
	infos := map[string]func(wire.AllocationRequest) []byte{
		"another cluster": func(r wire.AllocationRequest) []byte {
			return wire.AllocationInfo("other", r.Namespace, r.Pod, r.PodUID)
		},
		"another pod": func(r wire.AllocationRequest) []byte {
			return wire.AllocationInfo(clienttest.ClusterID, r.Namespace, "other", r.PodUID)
		},
		"another UID": func(r wire.AllocationRequest) []byte {
			return wire.AllocationInfo(clienttest.ClusterID, r.Namespace, r.Pod, "other")
		},
		"none": func(wire.AllocationRequest) []byte { return nil },
	}
	for name, info := range infos {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 1)
			cluster.Info = info
			c, _ := connect(t, cluster)
			_, err := c.AllocateKeys(t.Context(), options("a", 1), nil)
			require.ErrorIs(t, err, wire.ErrSealed)
			require.ErrorIs(t, err, ErrAnswer)
		})
	}
}

// Every call has a key pair of its own, so an answer from before opens no more.
func TestReplayedSecretsDoNotOpen(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	c, _ := connect(t, cluster)
	var first wire.Sealed
	cluster.Intercept = nil
	request := ask("a", 1)
	_, request.Recipient, _ = wire.NewRecipient(wire.KEMX25519)
	a, _, err := c.Allocate(t.Context(), request, 0)
	require.NoError(t, err)
	first = a.Secrets
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		a.Secrets = first
		writeJSON(w, a)
		return true
	}
	asked := options("a", 1)
	asked.KEM = wire.KEMX25519
	_, err = c.AllocateKeys(t.Context(), asked, nil)
	require.ErrorIs(t, err, wire.ErrSealed)

	a.Secrets = wire.Sealed{}
	first = wire.Sealed{}
	_, err = c.AllocateKeys(t.Context(), asked, nil)
	require.ErrorContains(t, err, "no secrets")
}

func TestFenceIsRemembered(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	fence := int64(9)
	cluster.Tamper = func(outer *wire.Allocation, inner *wire.AllocationSecrets) { outer.Fence, inner.Fence = fence, fence }
	c, _ := connect(t, cluster)
	for _, step := range []struct {
		fence int64
		ok    bool
	}{{9, true}, {9, true}, {8, false}, {10, true}, {9, false}} {
		fence = step.fence
		_, err := c.AllocateKeys(t.Context(), options("a", 1), nil)
		if step.ok {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, ErrAnswer)
		}
	}
	fence = 1
	_, err := c.AllocateKeys(t.Context(), options("b", 1), nil)
	require.NoError(t, err, "another pod has fences of its own")
}

func TestOtherClusterBehindTheSameServers(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	c, _ := connect(t, cluster)
	_, err := c.AllocateKeys(t.Context(), options("a", 1), nil)
	require.NoError(t, err)
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == pathCluster {
			writeJSON(w, wire.Cluster{ClusterID: "other"})
		}
		return r.URL.Path == pathCluster
	}
	_, err = c.AllocateKeys(t.Context(), options("a", 1), nil)
	require.ErrorIs(t, err, ErrAnswer)
	require.ErrorContains(t, err, "other")
}

func TestTimeRunsOutWhilePending(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.PendingFor = -1
	c, clock := connect(t, cluster)
	ctx, cancel := context.WithCancel(t.Context())
	clock.before = func(n int) {
		if n == 3 {
			cancel()
		}
	}
	_, err := c.AllocateKeys(ctx, options("a", 4), nil)
	pending, ok := errors.AsType[*PendingError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, 4, pending.Pending.Keys)
	require.Equal(t, 2, pending.Pending.Ready)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "2 of 4 keys are not there yet: deposits are on their way (depositing)")
}

// An init container is started before its cluster, and outlives an outage.
func TestPatience(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 2)
	founded, led := false, false
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		switch {
		case !founded:
			writeJSON(w, wire.Cluster{})
		case !led && r.Method == http.MethodPost:
			clienttest.Problem(w, http.StatusServiceUnavailable, TypeOutcomeUnknown, "the leader was lost")
		default:
			return false
		}
		return true
	}
	c, clock := connect(t, cluster, func(config *Config) { config.RetryFor = time.Millisecond })
	clock.before = func(n int) { founded, led = n >= 5, n >= 50 }
	trouble := 0
	set, err := c.AllocateKeys(t.Context(), options("a", 1), func(p Progress) {
		require.Error(t, p.Trouble)
		trouble++
	})
	require.NoError(t, err)
	require.Len(t, set.Keys, 1)
	require.Equal(t, 50, trouble)
	require.LessOrEqual(t, slices.Max(clock.pauses()), 5*time.Second)
}
