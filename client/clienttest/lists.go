package clienttest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

func (c *Cluster) assignments(w http.ResponseWriter, _ *http.Request) {
	list := wire.Assignments{ClusterID: ClusterID, AppliedIndex: 42, AgeMs: 7, Assignments: []wire.Allocation{}}
	for _, name := range c.pods() {
		namespace, pod, _ := strings.Cut(name, "/")
		list.Assignments = append(list.Assignments, *c.Allocation(namespace, pod))
	}
	answer(w, http.StatusOK, list)
}

// pods lists the pods that hold keys, sorted.
func (c *Cluster) pods() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for name := range c.allocations {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// keys lists every key that was handed out, by index, and those that were brought.
func (c *Cluster) keys(state string) []wire.Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := make([]wire.Key, c.next)
	for i := range keys {
		keys[i] = wire.Key{
			Pubkey: c.Key(uint64(i)).PublicKey().String(), State: wire.KeyStateFree,
			Index: int64(i), Path: validator.SigningPath(uint64(i)),
		}
		for _, a := range c.allocations {
			if slices.Contains(a.Keys, keys[i].Pubkey) {
				keys[i].State, keys[i].Fence = wire.KeyState(a.State), a.Fence
				keys[i].Holder = wire.Pod{Namespace: a.Namespace, Pod: a.Pod, PodUID: a.PodUID}
			}
		}
	}
	keys = slices.Concat(keys, c.imported)
	for i, key := range keys {
		if over, ok := c.retired[key.Pubkey]; ok {
			keys[i] = over
		}
	}
	return slices.DeleteFunc(keys, func(k wire.Key) bool { return state != "" && string(k.State) != state })
}

// derived lists the keys that the cluster paid for.
func (c *Cluster) derived() []wire.Key {
	return slices.DeleteFunc(c.keys(""), func(k wire.Key) bool { return k.Imported })
}

// page cuts a list as the query asks.
func page[T any](c *Cluster, r *http.Request, list []T) (items []T, next string) {
	size := c.PageSize
	if size == 0 {
		size = 1000
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	from = min(from, len(list))
	to := min(from+size, len(list))
	if to < len(list) {
		next = strconv.Itoa(to)
	}
	return list[from:to], next
}

func (c *Cluster) listKeys(w http.ResponseWriter, r *http.Request) {
	counts := map[string]int64{}
	for _, key := range c.keys("") {
		counts[string(key.State)]++
	}
	keys, next := page(c, r, c.keys(r.URL.Query().Get("state")))
	answer(w, http.StatusOK, wire.KeyPage{Keys: keys, Counts: counts, NextCursor: next})
}

func (c *Cluster) getKey(w http.ResponseWriter, r *http.Request) {
	for _, key := range c.keys("") {
		if key.Pubkey == r.PathValue("pubkey") {
			answer(w, http.StatusOK, key)
			return
		}
	}
	Problem(w, http.StatusNotFound, "not-found", "there is no such key")
}

func (c *Cluster) listDeposits(w http.ResponseWriter, r *http.Request) {
	var all []wire.Deposit
	for _, key := range c.derived() {
		all = append(all, c.depositOf(key))
	}
	deposits, next := page(c, r, all)
	answer(w, http.StatusOK, wire.DepositPage{
		Deposits: deposits, Counts: map[string]int64{"final": int64(len(all))}, NextCursor: next,
		Waiting: wire.Reason{Code: "too-little-money", Detail: "the account lacks 32 ETH"}, Accounts: c.accounts(),
		Funds: wire.Funds{
			ChainID: 1337, Account: "0x" + strings.Repeat("cd", 20), BalanceWei: "1500000000000000000", GasPriceWei: "2000000000",
			InFlightWei: "0", Waiting: 1, WaitingWei: "32000800000000000000", MissingWei: "30500800000000000000",
			Block: 12, At: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		},
		Pace: wire.Pace{MaxPerDay: 10, SignedToday: 4}, Spares: wire.Spares{Wanted: 3, Free: 1, OnTheirWay: 1, Planned: 1},
	})
}

func (c *Cluster) getDeposit(w http.ResponseWriter, r *http.Request) {
	for _, key := range c.derived() {
		if key.Pubkey == r.PathValue("pubkey") {
			answer(w, http.StatusOK, c.depositOf(key))
			return
		}
	}
	Problem(w, http.StatusNotFound, "not-found", "there is no deposit for this key")
}

// getCluster answers as the node with this index: only the leader knows of lags.
func (c *Cluster) getCluster(self int, w http.ResponseWriter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	urls := c.Members
	if urls == nil {
		urls = c.URLs()
	}
	cluster := wire.Cluster{ClusterID: ClusterID, Term: 3, FailureTolerance: (len(urls) - 1) / 2, Nodes: []wire.Node{}}
	for i, url := range urls {
		node := wire.Node{ID: nodeName(i), API: url, Raft: "127.0.0.1:" + strconv.Itoa(7000+i), Voter: true, Role: wire.NodeRoleVoter}
		if self != c.leader && self != i {
			node.Lag = -1
		}
		if self == i {
			node.DepositEvents = c.DepositEvents[i]
		}
		node.Terms = c.Terms[i]
		cluster.Nodes = append(cluster.Nodes, node)
		if i == c.leader {
			cluster.Leader = nodeName(i)
		}
	}
	answer(w, http.StatusOK, cluster)
}

func (c *Cluster) getSeed(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer(w, http.StatusOK, wire.SeedStatus{
		ClusterID: ClusterID, Installed: c.identity.fingerprint != "",
		Fingerprint: c.identity.fingerprint, Recipient: c.identity.recipient,
	})
}

func (c *Cluster) putSeed(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var body wire.SealedSeed
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		Problem(w, http.StatusBadRequest, "malformed-body", err.Error())
		return
	}
	if !slices.Equal(body.Recipient.Key, c.identity.recipient.Key) {
		Problem(w, http.StatusConflict, "stale-recipient", "the leader has changed; read the recipient again")
		return
	}
	plaintext, err := body.Sealed.Open(c.identity.private, wire.SeedInfo(ClusterID))
	if err != nil {
		Problem(w, http.StatusBadRequest, "invalid-field", err.Error())
		return
	}
	seed, err := validator.SeedFromBytes(plaintext)
	if err != nil {
		Problem(w, http.StatusBadRequest, "invalid-field", err.Error())
		return
	}
	if held := c.identity.fingerprint; held != "" && held != seed.Fingerprint() {
		Problem(w, http.StatusConflict, "seed-exists", "the cluster has another seed")
		return
	}
	c.identity.fingerprint = seed.Fingerprint()
	w.WriteHeader(http.StatusNoContent)
}
