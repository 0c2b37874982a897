package client

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

func TestKeysThatTheCallerHas(t *testing.T) {
	t.Parallel()
	const mine, other = "uid", "other"
	allocation := func(uid string, keys ...string) wire.Allocation {
		return wire.Allocation{ClusterID: clienttest.ClusterID, PodUID: uid, Keys: keys}
	}
	pending := func(uid string, keys int) wire.PendingAllocation {
		return wire.PendingAllocation{ClusterID: clienttest.ClusterID, PodUID: uid, Keys: keys}
	}
	keys := clienttest.Start(t, 1)
	a, b := keys.Key(0).PublicKey(), keys.Key(1).PublicKey()
	for name, test := range map[string]struct {
		status wire.PodStatus
		lost   bool
	}{
		"held":                            {wire.PodStatus{Allocation: allocation(mine, a.String(), b.String())}, false},
		"one is not":                      {wire.PodStatus{Allocation: allocation(mine, a.String())}, true},
		"held by an earlier UID":          {wire.PodStatus{Allocation: allocation(other, b.String(), a.String())}, false},
		"that holds others":               {wire.PodStatus{Allocation: allocation(other), Pending: pending(mine, 9)}, true},
		"nothing is held":                 {wire.PodStatus{}, true},
		"going over to its request":       {wire.PodStatus{Pending: pending(mine, 2)}, false},
		"more is asked for than by that":  {wire.PodStatus{Pending: pending(mine, 1)}, true},
		"a request of another UID":        {wire.PodStatus{Pending: pending(other, 9)}, true},
		"a request beside its own others": {wire.PodStatus{Allocation: allocation(mine), Pending: pending(mine, 9)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 1)
			cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodGet && r.URL.Path == "/v1/allocations/default/a" {
					clienttest.Answer(w, test.status)
					return true
				}
				return false
			}
			c, _ := connect(t, cluster)
			set, err := c.AllocateKeys(t.Context(), AllocateOptions{
				Namespace: "default", Pod: "a", PodUID: mine, Keys: 2, KEM: wire.KEMX25519, Has: []validator.PublicKey{a, b},
			}, nil)
			if !test.lost {
				require.NoError(t, err)
				set.Zero()
				return
			}
			require.ErrorIs(t, err, ErrKeysLost)
			require.ErrorIs(t, err, ErrRefused)
			for _, r := range cluster.Requests() {
				require.NotEqual(t, http.MethodPost, r.Method, "nothing is asked for")
			}
		})
	}
}

func TestKeysThatTheCallerHasAndThatAreRetired(t *testing.T) {
	t.Parallel()
	for reason, isOver := range map[string]bool{"exited": true, "slashed": true, "withdrawn": true, "operator": false, "foreign": false, "": false} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 1)
			c, _ := connect(t, cluster)
			ask := func(has ...validator.PublicKey) (*KeySet, error) {
				return c.AllocateKeys(t.Context(), AllocateOptions{
					Namespace: "default", Pod: "a", PodUID: "u", Keys: 2, KEM: wire.KEMX25519, Has: has,
				}, nil)
			}
			set, err := ask()
			require.NoError(t, err)
			require.Equal(t, Retired{}, set.Retired)
			gone, kept := set.Keys[0].PublicKey, set.Keys[1].PublicKey
			cluster.Retire(gone.String(), reason, "")
			want := Retired{Revoked: []validator.PublicKey{gone}}
			if isOver {
				want = Retired{Ended: []validator.PublicKey{gone}}
			}
			set, err = ask(gone, kept)
			require.NoError(t, err)
			require.Equal(t, want, set.Retired)
			require.Len(t, set.Keys, 2)
			require.NotContains(t, set.Allocation.Keys, gone.String())
			_, err = ask(gone, kept, cluster.Key(9).PublicKey())
			require.ErrorIs(t, err, ErrKeysLost, "one that nobody knows is lost")
			other, err := c.AllocateKeys(t.Context(), AllocateOptions{Namespace: "default", Pod: "b", PodUID: "v", Keys: 1, KEM: wire.KEMX25519}, nil)
			require.NoError(t, err)
			_, err = ask(gone, kept, other.Keys[0].PublicKey)
			require.ErrorIs(t, err, ErrKeysLost, "one that another pod holds is lost")
		})
	}
}

func TestKeysRetiredWhileTheCallerWaits(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	gone, posts := cluster.Key(0).PublicKey(), atomic.Int32{}
	cluster.Intercept = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && posts.Add(1) == 2 { // the keys were compared before it
			cluster.Retire(gone.String(), "exited", "")
		}
		return false
	}
	c, _ := connect(t, cluster)
	options := AllocateOptions{Namespace: "default", Pod: "a", PodUID: "u", Keys: 2, KEM: wire.KEMX25519}
	set, err := c.AllocateKeys(t.Context(), options, nil)
	require.NoError(t, err)
	require.Equal(t, gone, set.Keys[0].PublicKey)
	options.Has = []validator.PublicKey{gone, set.Keys[1].PublicKey}
	set, err = c.AllocateKeys(t.Context(), options, nil)
	require.NoError(t, err)
	require.Equal(t, []validator.PublicKey{gone}, set.Retired.Ended)
}

func TestRefusedIsTold(t *testing.T) {
	t.Parallel()
	for status, definite := range map[int]bool{400: true, 401: true, 403: true, 404: true, 422: true, 408: false, 429: false, 500: false, 503: false} {
		cluster := clienttest.Start(t, 1)
		cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				clienttest.Problem(w, status, "some", "why")
			}
			return r.Method == http.MethodPost
		}
		c, clock := connect(t, cluster)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		clock.before = func(int) { cancel() } // instead of patience
		_, err := c.AllocateKeys(ctx, AllocateOptions{Namespace: "default", Pod: "a", PodUID: "u", Keys: 1, KEM: wire.KEMX25519}, nil)
		require.Error(t, err)
		require.Equal(t, definite, errors.Is(err, ErrRefused), "%d: %v", status, err)
		require.NotContains(t, err.Error(), "refused", "the text stays as it is")
	}
	c, _ := connect(t, clienttest.Start(t, 1))
	_, err := c.AllocateKeys(t.Context(), AllocateOptions{Namespace: "default", Pod: "a", PodUID: "u"}, nil)
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorIs(t, err, ErrRequest)
}

func TestConfirmationNeedsAUID(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	c, _ := connect(t, cluster)
	err := c.Release(t.Context(), ReleaseOptions{Namespace: "default", Pod: "a", Fence: 1, ConfirmStopped: true})
	require.ErrorIs(t, err, ErrRequest)
	require.ErrorIs(t, c.Release(t.Context(), ReleaseOptions{Namespace: "default", Pod: "a", PodUID: "a b"}), ErrRequest)
	require.Empty(t, cluster.Requests())
}
