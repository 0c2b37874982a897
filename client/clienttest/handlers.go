package clienttest

import (
	"crypto/hpke"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// identity is the leader's HPKE key for seeds, and the seed once there is one.
type identity struct {
	private     hpke.PrivateKey
	recipient   wire.Recipient
	fingerprint string
}

func newIdentity(tb testing.TB) identity {
	tb.Helper()
	private, recipient, err := wire.NewRecipient(wire.KEMX25519)
	if err != nil {
		tb.Fatalf("make the identity of the fake cluster: %v", err)
	}
	return identity{private: private, recipient: recipient}
}

// ChangeRecipient is what a change of leader does to the recipient of seeds.
func (c *Cluster) ChangeRecipient() {
	c.mu.Lock()
	defer c.mu.Unlock()
	fingerprint := c.identity.fingerprint
	c.identity = newIdentity(c.tb)
	c.identity.fingerprint = fingerprint
}

// SeedFingerprint is empty until the cluster has a seed.
func (c *Cluster) SeedFingerprint() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.identity.fingerprint
}

func (c *Cluster) node(i int) http.Handler {
	mux := http.NewServeMux()
	leader := func(h http.HandlerFunc) http.HandlerFunc { return c.onLeader(i, h) }
	mux.HandleFunc("POST /v1/allocations", leader(c.allocate))
	mux.HandleFunc("GET /v1/allocations/{namespace}/{pod}", leader(c.getAllocation))
	mux.HandleFunc("DELETE /v1/allocations/{namespace}/{pod}", leader(c.release))
	mux.HandleFunc("POST /v1/allocations/{namespace}/{pod}/lease", leader(c.renewLease))
	mux.HandleFunc("GET /assignments", c.assignments)
	mux.HandleFunc("GET /v1/keys", leader(c.listKeys))
	mux.HandleFunc("GET /v1/keys/{pubkey}", leader(c.getKey))
	mux.HandleFunc("POST /v1/keys/import", leader(c.importKeys))
	mux.HandleFunc("POST /v1/keys/{pubkey}/confirm-stopped", leader(c.confirmStopped))
	mux.HandleFunc("POST /v1/keys/{pubkey}/retire", leader(c.retireKey))
	mux.HandleFunc("GET /v1/deposits", leader(c.listDeposits))
	mux.HandleFunc("GET /v1/deposits/{pubkey}", leader(c.getDeposit))
	mux.HandleFunc("GET /v1/tokens", leader(c.listTokens))
	mux.HandleFunc("POST /v1/tokens", leader(c.createToken))
	mux.HandleFunc("DELETE /v1/tokens/{id}", leader(c.revokeToken))
	mux.HandleFunc("GET /v1/seed", leader(c.getSeed))
	mux.HandleFunc("PUT /v1/seed", leader(c.putSeed))
	c.routeClouds(mux, leader)
	mux.HandleFunc("GET /v1/cluster", func(w http.ResponseWriter, _ *http.Request) { c.getCluster(i, w) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, wire.Readiness{Ready: true, Node: nodeName(i)})
	})
	c.routes = append(c.routes, mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.requests = append(c.requests, Request{
			Node: i, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Authorization: r.Header.Get("Authorization"),
		})
		c.mu.Unlock()
		if c.Intercept != nil && c.Intercept(i, w, r) {
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+Token {
			Problem(w, http.StatusUnauthorized, "unauthenticated", "no token, or a wrong one")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// onLeader redirects as a follower does.
func (c *Cluster) onLeader(i int, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		leader := c.leader
		c.mu.Unlock()
		switch leader {
		case i:
			h(w, r)
		case -1:
			w.Header().Set("Retry-After", "1")
			Problem(w, http.StatusServiceUnavailable, "no-leader", "there is no leader at present")
		default:
			w.Header().Set("Location", c.servers[leader].URL+r.URL.RequestURI())
			Problem(w, http.StatusTemporaryRedirect, "not-leader", "ask the leader")
		}
	}
}

func (c *Cluster) allocate(w http.ResponseWriter, r *http.Request) {
	var request wire.AllocationRequest
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		Problem(w, http.StatusBadRequest, "malformed-body", err.Error())
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name := request.Namespace + "/" + request.Pod
	if a := c.allocations[name]; a != nil && a.PodUID != request.PodUID {
		c.waiting[name] = pending(request, 0, wire.Reason{Code: "other-uid", Detail: "an earlier UID of the pod holds its keys"})
		answer(w, http.StatusAccepted, c.waiting[name])
		return
	}
	if c.PendingFor < 0 || c.pending[name] < c.PendingFor {
		c.pending[name]++
		c.waiting[name] = pending(request, c.pending[name]-1, wire.Reason{Code: "depositing", Detail: "deposits are on their way"})
		answer(w, http.StatusAccepted, c.waiting[name])
		return
	}
	delete(c.waiting, name)
	outer, inner := c.grant(request)
	if c.Tamper != nil {
		c.Tamper(&outer, &inner)
	}
	if request.SlashingProtection {
		outer.SlashingProtection = wire.SlashingProtection{
			GenesisValidatorsRoot: "0x" + strings.Repeat("4b", 32), GenesisTime: 1_606_824_023, SecondsPerSlot: 12, SlotsPerEpoch: 32,
		}
	}
	if request.Recipient.Kem != 0 {
		outer.Secrets = c.sealed(request, inner)
	}
	answer(w, http.StatusOK, outer)
}

func pending(request wire.AllocationRequest, ready int, reason wire.Reason) wire.PendingAllocation {
	ready = min(ready, int(request.Keys)-1) // else it would not be pending
	return wire.PendingAllocation{
		ClusterID: ClusterID, Namespace: request.Namespace, Pod: request.Pod, PodUID: request.PodUID,
		Keys: int(request.Keys), Ready: ready, Depositing: int(request.Keys) - ready,
		Reason: reason, Since: time.Unix(0, 0).UTC(),
	}
}

// grant hands out keys, the pod's own ones first.
func (c *Cluster) grant(request wire.AllocationRequest) (wire.Allocation, wire.AllocationSecrets) {
	name := request.Namespace + "/" + request.Pod
	a := c.allocations[name]
	if a == nil {
		a = &wire.Allocation{ClusterID: ClusterID, Namespace: request.Namespace, Pod: request.Pod, PodUID: request.PodUID}
		c.allocations[name] = a
	}
	if a.State != wire.AllocationStateHeld || int64(len(a.Keys)) < request.Keys {
		c.fence++
		a.Fence, a.State, a.Since = c.fence, wire.AllocationStateHeld, time.Unix(1_700_000_000, 0).UTC()
	}
	for int64(len(a.Keys)) < request.Keys {
		a.Keys = append(a.Keys, c.Key(c.next).PublicKey().String())
		c.next++
	}
	outer, inner := *a, wire.AllocationSecrets{Fence: a.Fence}
	outer.Keys = slices.Clone(a.Keys)
	for _, pubkey := range a.Keys {
		index := c.indexOf(pubkey)
		inner.Keys = append(inner.Keys, wire.KeySecret{
			Pubkey: pubkey, Path: validator.SigningPath(index), Secret: c.Key(index).Bytes(),
		})
	}
	return outer, inner
}

func (c *Cluster) indexOf(pubkey string) uint64 {
	index := uint64(0)
	for c.Key(index).PublicKey().String() != pubkey {
		index++
	}
	return index
}

func (c *Cluster) sealed(request wire.AllocationRequest, inner wire.AllocationSecrets) wire.Sealed {
	info := wire.AllocationInfo(ClusterID, request.Namespace, request.Pod, request.PodUID)
	if c.Info != nil {
		info = c.Info(request)
	}
	plaintext, err := inner.Encode()
	if err != nil {
		panic(err)
	}
	sealed, err := request.Recipient.Seal(info, plaintext)
	if err != nil {
		panic(err)
	}
	return sealed
}

func (c *Cluster) getAllocation(w http.ResponseWriter, r *http.Request) {
	var status wire.PodStatus
	if a := c.Allocation(r.PathValue("namespace"), r.PathValue("pod")); a != nil {
		status.Allocation = *a
	}
	c.mu.Lock()
	status.Pending = c.waiting[r.PathValue("namespace")+"/"+r.PathValue("pod")]
	c.mu.Unlock()
	if status.Allocation.Pod+status.Pending.Pod == "" {
		Problem(w, http.StatusNotFound, "not-found", "the pod holds no keys and waits for none")
		return
	}
	answer(w, http.StatusOK, status)
}

func (c *Cluster) renewLease(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.allocations[r.PathValue("namespace")+"/"+r.PathValue("pod")]
	switch {
	case c.LeaseDuration == 0:
		Problem(w, http.StatusConflict, "leases-off", "leases are off")
	case a == nil || a.PodUID != r.URL.Query().Get("podUid"):
		Problem(w, http.StatusConflict, "not-the-holder", "the pod holds no keys")
	case a.State != wire.AllocationStateHeld:
		Problem(w, http.StatusConflict, "not-the-holder", "the keys of the pod rest")
	default:
		answer(w, http.StatusOK, wire.Lease{ClusterID: ClusterID, Begun: r.URL.Query().Get("begin") == "true", DurationMs: c.LeaseDuration.Milliseconds(), Fence: a.Fence})
	}
}

func (c *Cluster) release(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("namespace") + "/" + r.PathValue("pod")
	fence, err := strconv.ParseInt(r.URL.Query().Get("fence"), 10, 64)
	if err != nil {
		Problem(w, http.StatusBadRequest, "invalid-field", "fence")
		return
	}
	podUID, confirmed := r.URL.Query().Get("podUid"), r.URL.Query().Get("confirmStopped") == "true"
	c.mu.Lock()
	defer c.mu.Unlock()
	a, waits := c.allocations[name], c.waiting[name]
	its := func(uid string) bool { return uid != "" && (podUID == "" || podUID == uid) }
	switch {
	case confirmed && podUID == "":
		Problem(w, http.StatusBadRequest, "invalid-field", "podUid is required with confirmStopped")
		return
	case fence == 0 && its(waits.PodUID):
		delete(c.waiting, name)
	case a == nil || !its(a.PodUID):
		Problem(w, http.StatusNotFound, "not-found", "the pod holds no keys and waits for none")
		return
	case a.Fence != fence:
		Problem(w, http.StatusConflict, "stale-fence", "the allocation has changed since")
		return
	case c.RestOnRelease && !confirmed:
		c.fence++
		a.Fence, a.State, a.RestsUntil = c.fence, wire.AllocationStateResting, "an operator says that the pod is stopped"
	default:
		delete(c.allocations, name)
	}
	w.WriteHeader(http.StatusNoContent)
}

// Answer answers with a value.
func Answer(w http.ResponseWriter, value any) { answer(w, http.StatusOK, value) }

func answer(w http.ResponseWriter, status int, value any) {
	write(w, "application/json", status, value)
}

func write(w http.ResponseWriter, contentType string, status int, value any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(value); err != nil {
		panic(http.ErrAbortHandler) // the client went away
	}
}
