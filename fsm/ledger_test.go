package fsm

import (
	"fmt"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// world is a deep copy of the state, so that a row which is changed in place shows.
type world struct {
	digest      [32]byte
	bare        [32]byte // the digest without the audit log
	substance   [32]byte // without what is only housekeeping, besides
	meta        *fsmpb.Meta
	keys        map[string]*fsmpb.Key
	requests    map[string]*fsmpb.Request
	allocations map[string]*fsmpb.Allocation
	deposits    map[string]*fsmpb.Deposit
	accounts    map[string]*fsmpb.Account
	seed        *fsmpb.Secret
	tokens      map[string]*fsmpb.Token
}

func look(v *View) *world {
	w := &world{
		digest: digest(v), bare: bare(v), substance: substance(v), keys: map[string]*fsmpb.Key{}, requests: map[string]*fsmpb.Request{},
		allocations: map[string]*fsmpb.Allocation{}, deposits: map[string]*fsmpb.Deposit{}, accounts: map[string]*fsmpb.Account{},
	}
	w.seed = proto.CloneOf(v.Secret(SecretSeed))
	w.meta, w.tokens = proto.CloneOf(v.Meta()), map[string]*fsmpb.Token{}
	for x := range v.Tokens("") {
		w.tokens[x.GetId()] = proto.CloneOf(x)
	}
	for k := range v.Keys(nil) {
		w.keys[string(k.GetPubkey())] = proto.CloneOf(k)
	}
	for r := range v.Requests() {
		w.requests[podName(r.GetPod())] = proto.CloneOf(r)
	}
	for a := range v.Allocations() {
		w.allocations[podName(a.GetPod())] = proto.CloneOf(a)
	}
	for d := range v.Deposits(nil) {
		w.deposits[string(d.GetPubkey())] = proto.CloneOf(d)
	}
	for a := range v.Accounts() {
		w.accounts[string(accountKey(a.GetChainId(), a.GetAddress()))] = proto.CloneOf(a)
	}
	return w
}

// holders maps each public key to the pod with UID that holds it.
func (w *world) holders(t rapid.TB) map[string]string {
	t.Helper()
	by := map[string]string{}
	for name, a := range w.allocations {
		for _, k := range a.GetKeys() {
			require.NotContains(t, by, string(k), "a key in two allocations")
			by[string(k)] = name + "#" + a.GetPod().GetUid()
		}
	}
	return by
}

// planned counts the deposits for requests that nothing was ever signed for.
func (w *world) planned() int {
	n := 0
	for pubkey, d := range w.deposits {
		if d.GetState() == fsmpb.DepositState_DEPOSIT_STATE_PLANNED && len(d.GetLosses()) == 0 && w.keys[pubkey].GetReservedBy() != "" {
			n++
		}
	}
	return n
}

// ledger is the naive second opinion: it follows the accepted commands with
// plain maps and says what must be so after each of them.
type ledger struct {
	clock    uint64
	pods     map[string]*holding     // pod name → what it holds
	ended    map[string]bool         // pods whose holding was ended by the last command, by proof
	deposits map[string]*paid        // public key → its stake, once something was signed
	nonces   map[string]string       // account and nonce → public key
	last     map[string]string       // public key → last holder
	rested   map[string]bool         // public keys whose last holder is proven gone
	births   map[string]uint64       // public key → derivation index
	accounts map[string]*purse       // accounts that were ever stopped
	spares   int                     // keys that are wanted beyond those of requests
	retired  map[string]string       // public key → the first reason
	seen     map[string]string       // public key → status of the validator
	imports  map[string]*imported    // public key → what is known of it since its import or adoption
	next     uint64                  // index of the seed that was neither used nor passed over
	searches map[string]*searched    // contract → how far it was searched for deposits of the seed
	latest   string                  // the contract that was searched last
	final    *fsmpb.FinalBlock       // the block that every chain must hold
	tokens   map[string]*fsmpb.Token // ID → token that was made and not taken back
}

type holding struct {
	uid      string
	state    fsmpb.AllocationState
	proven   bool
	deadline uint64
	expired  bool // its lease ended it, and nothing else
	watched
}

type paid struct {
	state  fsmpb.DepositState
	hashes map[string]bool
	nonce  uint64
	purse  *purse
	block  string
	at     uint64 // cluster time
	signs  int
	losses int // of attempts
	rounds int // in which all attempts were lost
}

func newLedger() *ledger {
	return &ledger{
		pods: map[string]*holding{}, deposits: map[string]*paid{}, nonces: map[string]string{},
		last: map[string]string{}, rested: map[string]bool{}, births: map[string]uint64{},
		accounts: map[string]*purse{},
		retired:  map[string]string{}, seen: map[string]string{},
		imports: map[string]*imported{}, searches: map[string]*searched{},
		tokens: map[string]*fsmpb.Token{},
	}
}

// check follows one command and compares.
func (l *ledger) check(t rapid.TB, before *world, c *fsmpb.Command, res Result, after *world) {
	t.Helper()
	if res.Refusal != nil {
		require.Equal(t, before.bare, after.bare, "a refusal changed the state: %v", res.Refusal)
		if res.Refusal.Code == PoolShort {
			l.short(t, c.GetAllocate(), true, before, after)
		}
		return
	}
	if c.GetBeginSession() == nil {
		require.Equal(t, before.meta.GetSession(), c.GetSession(), "accepted from a session that is over")
		require.Equal(t, after.meta.GetAppliedTerm(), c.GetSession(), "accepted from a leader that is none")
	}
	l.ended = map[string]bool{}
	switch {
	case c.GetTick() != nil:
		l.clock += min(c.GetTick().GetElapsedMs(), 60_000)
		l.endLeases()
	case c.GetAllocate() != nil:
		l.allocate(t, c.GetAllocate(), res, before, after)
		if c.GetAllocate().GetPoolOnly() {
			l.short(t, c.GetAllocate(), false, before, after)
		}
	case c.GetRelease() != nil:
		l.release(t, c.GetRelease(), before)
	case c.GetObservePods() != nil:
		l.observePods(c.GetObservePods(), before)
	case c.GetRenewLease() != nil:
		l.renewLease(t, c.GetRenewLease(), res)
	case c.GetSignDeposits() != nil:
		l.sign(t, c.GetSignDeposits())
	case c.GetImportKeys() != nil:
		l.importKeys(t, c.GetImportKeys(), res, before)
	case c.GetReseal() != nil:
		l.reseal(c.GetReseal(), before)
	case c.GetConfirmStopped() != nil:
		l.confirmStopped(t, c.GetConfirmStopped(), before)
	case c.GetSetSpareKeys() != nil:
		l.spares = int(c.GetSetSpareKeys().GetKeys())
	case c.GetGenerateKeys() != nil:
		l.next += uint64(len(c.GetGenerateKeys().GetPubkeys()))
	case c.GetAdoptKeys() != nil:
		l.adopt(t, c.GetAdoptKeys(), before)
	case c.GetSeeFinal() != nil:
		l.seeFinal(c.GetSeeFinal().GetBlock())
	case c.GetObserveDeposits() != nil:
		for _, o := range c.GetObserveDeposits().GetObservations() {
			l.observe(o, before)
		}
	case c.GetRetireKeys() != nil:
		l.retire(t, c.GetRetireKeys(), before)
	case c.GetObserveValidators() != nil:
		for _, v := range c.GetObserveValidators().GetValidators() {
			if before.keys[string(v.GetPubkey())] != nil {
				l.seen[string(v.GetPubkey())] = v.GetStatus()
			}
		}
	case c.GetCreateToken() != nil, c.GetRevokeToken() != nil:
		l.token(t, c)
	default:
		l.account(t, c, before)
	}
	l.checkTokens(t, after)
	for name, h := range l.pods {
		if h.proven && l.clock >= h.deadline {
			l.ended[name] = true
			delete(l.pods, name)
		}
	}
	l.follow(t, c, before, after)
	require.Equal(t, l.clock, after.meta.GetClusterTimeMs())
	l.checkHolders(t, before, after)
	l.checkAllocations(t, c, before, after)
	l.checkDeposits(t, after)
	l.checkStops(t, after)
	l.checkImports(t, before, after)
	l.checkRetired(t, before, after)
	l.checkSpares(t, after)
	checkRequests(t, after)
	checkCounts(t, after)
	l.checkIndexes(t, after)
}

func (l *ledger) allocate(t rapid.TB, c *fsmpb.Allocate, res Result, before, after *world) {
	t.Helper()
	name, uid, n := podName(c.GetPod()), c.GetPod().GetUid(), c.GetKeys()
	answer, ok := res.Value.(Allocated)
	require.True(t, ok)
	if answer.Request == nil {
		require.Equal(t, uid, answer.Allocation.GetPod().GetUid(), "done, but held by another UID")
		require.Equal(t, fsmpb.AllocationState_ALLOCATION_STATE_HELD, answer.Allocation.GetState())
		require.GreaterOrEqual(t, len(answer.Allocation.GetKeys()), int(n), "done, but with fewer keys")
	} else {
		require.Equal(t, uid, answer.Request.GetPod().GetUid(), "told about the request of another UID")
		require.GreaterOrEqual(t, answer.Request.GetKeys(), n)
	}
	had, asked := before.allocations[name], before.requests[name]
	mine := had.GetPod().GetUid() == uid
	enough := mine && len(had.GetKeys()) >= int(n)
	joined := asked.GetPod().GetUid() == uid && asked.GetKeys() >= n
	grown := after.planned() - before.planned()
	switch {
	case enough || joined:
		require.Equal(t, before.meta.GetNextDeposit(), after.meta.GetNextDeposit(), "a repeat planned deposits")
	case had != nil && !mine:
		require.LessOrEqual(t, grown, 0, "deposits were planned for a UID that has to wait for an earlier one")
	case mine:
		require.LessOrEqual(t, grown, int(n)-len(had.GetKeys()))
	default:
		require.LessOrEqual(t, grown, int(n))
	}
	if h := l.pods[name]; h != nil && h.uid == uid && h.state == fsmpb.AllocationState_ALLOCATION_STATE_RESTING {
		*h = holding{uid: uid, state: fsmpb.AllocationState_ALLOCATION_STATE_HELD, watched: watched{node: h.node, nodeUID: h.nodeUID, kubernetes: h.kubernetes}}
	}
}

func (l *ledger) release(t rapid.TB, c *fsmpb.Release, before *world) {
	t.Helper()
	name := c.GetNamespace() + "/" + c.GetPod()
	h := l.pods[name]
	if h == nil || c.GetFence() == 0 {
		if uid := c.GetPodUid(); uid != "" {
			require.Equal(t, uid, before.requests[name].GetPod().GetUid(), "the request of another UID was withdrawn")
		}
		return
	}
	if uid := c.GetPodUid(); uid != "" {
		require.Equal(t, uid, h.uid, "another UID was released")
	}
	h.state = fsmpb.AllocationState_ALLOCATION_STATE_RESTING
	if c.GetProof() != nil && !h.proven {
		h.proven, h.deadline = true, l.clock+min(c.GetWaitMs(), 1<<50)
	}
}

func (l *ledger) sign(t rapid.TB, c *fsmpb.SignDeposits) {
	t.Helper()
	from := l.purse(c.GetChainId(), c.GetAccount())
	require.False(t, from.stopped, "signed for an account that is stopped")
	for _, s := range c.GetDeposits() {
		nonce := fmt.Sprintf("%d %x %d", c.GetChainId(), c.GetAccount(), s.GetAttempt().GetNonce())
		require.NotContains(t, l.nonces, nonce, "a nonce was used twice")
		l.nonces[nonce] = string(s.GetPubkey())
		p := l.deposits[string(s.GetPubkey())]
		if p == nil {
			p = &paid{state: fsmpb.DepositState_DEPOSIT_STATE_PLANNED}
			l.deposits[string(s.GetPubkey())] = p
		}
		require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_PLANNED, p.state, "signed twice: two stakes for one key")
		require.Empty(t, l.retired[string(s.GetPubkey())], "signed for a key that is retired")
		p.state, p.hashes = fsmpb.DepositState_DEPOSIT_STATE_SIGNED, map[string]bool{string(s.GetAttempt().GetTxHash()): true}
		p.nonce, p.purse, p.at = s.GetAttempt().GetNonce(), from, l.clock
		p.signs++
	}
}

// checkHolders: a key leaves a holder only when the holding ended by proof, and
// is given to another only after that.
func (l *ledger) checkHolders(t rapid.TB, before, after *world) {
	t.Helper()
	was, is := before.holders(t), after.holders(t)
	for pubkey, k := range after.keys {
		if index, ok := l.births[pubkey]; ok {
			require.Equal(t, index, k.GetIndex(), "a key changed its derivation index")
		}
		l.births[pubkey] = k.GetIndex()
		if was[pubkey] == is[pubkey] {
			continue
		}
		if was[pubkey] != "" {
			name := podName(before.keys[pubkey].GetHolder())
			require.True(t, l.ended[name] || l.retired[pubkey] != "", "key %x left %s without proof", pubkey, was[pubkey])
			l.rested[pubkey] = true
		}
		if is[pubkey] != "" {
			require.Empty(t, l.retired[pubkey], "a retired key was handed out")
			require.True(t, l.last[pubkey] == "" || l.rested[pubkey], "key %x went from %s to %s", pubkey, l.last[pubkey], is[pubkey])
			require.Greater(t, k.GetFence(), before.keys[pubkey].GetFence(), "a new holder at an old fence")
			if l.imports[pubkey] == nil {
				require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_FINAL, after.deposits[pubkey].GetState(), "held without a stake")
			}
			l.last[pubkey], l.rested[pubkey] = is[pubkey], false
		}
	}
	require.Len(t, after.keys, len(l.births), "a key was forgotten")
}

// checkAllocations: states follow the commands, keys are granted whole and their
// order only grows.
func (l *ledger) checkAllocations(t rapid.TB, c *fsmpb.Command, before, after *world) {
	t.Helper()
	fences := map[uint64]bool{}
	for name, a := range after.allocations {
		require.False(t, fences[a.GetFence()], "two allocations with one fence")
		fences[a.GetFence()] = true
		uid := a.GetPod().GetUid()
		h, old := l.pods[name], before.allocations[name]
		if h == nil {
			h, old = &holding{uid: uid, state: fsmpb.AllocationState_ALLOCATION_STATE_HELD}, nil
			l.pods[name] = h
		}
		require.Equal(t, h.uid, uid, "allocation %s changed its UID without proof", name)
		require.Equal(t, h.state, a.GetState(), "allocation %s", name)
		require.Equal(t, h.proven, a.GetProof() != nil, "allocation %s", name)
		is := watched{a.GetNode(), a.GetNodeUid(), a.GetKubernetesUid(), a.GetLeaseUntilMs(), a.GetLeaseWaitMs()}
		require.Equal(t, h.watched, is, "allocation %s", name)
		had := l.alive(old)
		require.GreaterOrEqual(t, len(a.GetKeys()), len(had), "keys were taken away")
		for i, k := range had {
			require.Equal(t, k, a.GetKeys()[i], "the order of %s changed", name)
		}
		changed := old == nil || old.GetState() != a.GetState() || len(old.GetKeys()) != len(a.GetKeys())
		require.Equal(t, changed, a.GetFence() != old.GetFence(), "the fence of %s went from %d to %d", name, old.GetFence(), a.GetFence())
		require.GreaterOrEqual(t, a.GetFence(), old.GetFence())
		if len(a.GetKeys()) > len(had) {
			want := before.requests[name].GetKeys()
			if p := c.GetAllocate().GetPod(); p != nil && podName(p) == name {
				// A new UID decides for itself; the same UID never asks for fewer.
				if want = max(want, c.GetAllocate().GetKeys()); before.requests[name].GetPod().GetUid() != p.GetUid() {
					want = c.GetAllocate().GetKeys()
				}
			}
			require.Len(t, a.GetKeys(), int(want), "%s was not granted whole by %v", name, c)
			require.NotContains(t, after.requests, name)
		}
	}
	for name := range l.pods {
		require.Contains(t, after.allocations, name, "an allocation vanished without proof")
	}
}

func (l *ledger) checkDeposits(t rapid.TB, after *world) {
	t.Helper()
	for pubkey, d := range after.deposits {
		p := l.deposits[pubkey]
		if p == nil {
			p = &paid{state: fsmpb.DepositState_DEPOSIT_STATE_PLANNED}
		}
		require.Equal(t, p.state, d.GetState(), "deposit %x", pubkey)
		require.Len(t, d.GetLosses(), p.losses)
		require.Equal(t, p.at, d.GetSignedAtMs(), "when it was signed")
		require.LessOrEqual(t, p.signs-p.rounds, 1, "two stakes for one key")
		if d.GetState() == fsmpb.DepositState_DEPOSIT_STATE_PLANNED {
			require.Empty(t, d.GetAttempts())
			continue
		}
		require.Len(t, d.GetAttempts(), len(p.hashes))
		for _, a := range d.GetAttempts() {
			require.True(t, p.hashes[string(a.GetTxHash())])
			require.Equal(t, pubkey, l.nonces[fmt.Sprintf("%d %x %d", d.GetChainId(), d.GetAccount(), a.GetNonce())])
			final := d.GetState() == fsmpb.DepositState_DEPOSIT_STATE_FINAL
			require.Equal(t, final, len(a.GetRaw()) == 0, "the bytes are needed until the deposit is final")
		}
		require.Equal(t, p.block, string(d.GetBlockHash()))
	}
	for pubkey := range l.deposits {
		require.Contains(t, after.deposits, pubkey, "a deposit that was signed was forgotten")
	}
	used := uint64(0)
	for _, a := range after.accounts {
		used += a.GetNextNonce() - 5
	}
	for _, p := range l.accounts {
		used -= p.skipped
	}
	require.Len(t, l.nonces, int(used), "a nonce was used up by something else than logged bytes")
}

func checkRequests(t rapid.TB, after *world) {
	t.Helper()
	reserved := map[string]string{}
	for name, r := range after.requests {
		require.LessOrEqual(t, len(r.GetReserved()), int(r.GetWant()))
		for _, k := range r.GetReserved() {
			require.NotContains(t, reserved, string(k), "reserved twice")
			reserved[string(k)] = name
		}
	}
	for pubkey, k := range after.keys {
		require.Equal(t, reserved[pubkey], k.GetReservedBy())
		d := after.deposits[pubkey]
		if k.GetState() == fsmpb.KeyState_KEY_STATE_FREE && reserved[pubkey] == "" {
			require.Zero(t, after.planned(), "a deposit is planned while the pool has a key")
		}
		if k.GetState() == fsmpb.KeyState_KEY_STATE_DEPOSITING && reserved[pubkey] == "" && d.GetState() != fsmpb.DepositState_DEPOSIT_STATE_PLANNED {
			require.Zero(t, after.planned(), "a deposit is planned while a stake is on its way for nobody")
		}
	}
}
