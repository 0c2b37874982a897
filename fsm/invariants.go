package fsm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Check reads the whole state and reports everything in it that must never be:
// a key with two holders, a held key outside of its holder's allocation, a
// nonce that belongs to two deposits, counts that do not add up. It is made for
// tests and for an operator who doubts; it costs a pass over the state.
func (v *View) Check() error {
	c := &checker{
		view: v, meta: v.Meta(), owner: make(map[string]string),
		reserver: make(map[string]string), nonces: make(map[string][]byte),
	}
	c.checkAllocations()
	c.checkRequests()
	c.checkKeys()
	c.checkDeposits()
	c.checkThrift()
	c.checkSpares()
	c.checkAccounts()
	c.checkSearch()
	c.checkSealed()
	c.checkAudit()
	c.checkTokens()
	c.checkObjects()
	c.checkRestore()
	c.checkStaging()
	return errors.Join(c.found...)
}

type checker struct {
	view     *View
	meta     *fsmpb.Meta
	owner    map[string]string // public key → allocation that lists it
	reserver map[string]string // public key → request that lists it
	nonces   map[string][]byte // account and nonce → public key
	found    []error
}

func (c *checker) failf(format string, args ...any) {
	c.found = append(c.found, fmt.Errorf(format, args...))
}

func (c *checker) checkAllocations() {
	for a := range c.view.Allocations() {
		name := podName(a.GetPod())
		if a.GetFence() == 0 || a.GetFence() > c.meta.GetFence() {
			c.failf("allocation %s has fence %d of %d", name, a.GetFence(), c.meta.GetFence())
		}
		if len(a.GetKeys()) == 0 {
			c.failf("allocation %s is empty", name)
		}
		want := fsmpb.KeyState_KEY_STATE_HELD
		if a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_RESTING {
			want = fsmpb.KeyState_KEY_STATE_RESTING
		}
		for _, pubkey := range a.GetKeys() {
			if other, ok := c.owner[string(pubkey)]; ok {
				c.failf("key %x is in the allocations %s and %s", pubkey, other, name)
			}
			c.owner[string(pubkey)] = name
			if k := c.view.Key(pubkey); k.GetState() != want || k.GetHolder().GetUid() != a.GetPod().GetUid() || podName(k.GetHolder()) != name {
				c.failf("key %x of allocation %s (%v) is %v of %v", pubkey, name, a.GetState(), k.GetState(), k.GetHolder())
			}
		}
	}
}

func (c *checker) checkRequests() {
	for r := range c.view.Requests() {
		name := podName(r.GetPod())
		if size(r.GetReserved()) > r.GetWant() || r.GetWant() > r.GetKeys() {
			c.failf("request %s reserves %d of %d of %d keys", name, len(r.GetReserved()), r.GetWant(), r.GetKeys())
		}
		if ready := c.checkReserved(name, r); ready != r.GetReady() {
			c.failf("request %s counts %d ready keys, there are %d", name, r.GetReady(), ready)
		}
		if !r.GetBlocked() && r.GetReady() >= r.GetWant() {
			c.failf("request %s is ready and was not granted", name)
		}
		if a := c.view.Allocation(r.GetPod().GetNamespace(), r.GetPod().GetName()); r.GetBlocked() != (a != nil && a.GetPod().GetUid() != r.GetPod().GetUid()) {
			c.failf("request %s of UID %s is blocked: %t, beside an allocation of UID %q", name, r.GetPod().GetUid(), r.GetBlocked(), a.GetPod().GetUid())
		}
	}
	if c.view.Shortfall() == 0 {
		return
	}
	for _, index := range []string{indexPool, indexLoose, indexSpare} {
		if k := lowest[*fsmpb.Key](c.view.txn, tableKeys, index); k != nil {
			c.failf("requests lack keys while key %x is to be had", k.GetPubkey())
		}
	}
}

// checkReserved looks at the keys that a request reserves and counts the free ones.
func (c *checker) checkReserved(name string, r *fsmpb.Request) uint32 {
	ready := uint32(0)
	for _, pubkey := range r.GetReserved() {
		if other, ok := c.reserver[string(pubkey)]; ok {
			c.failf("key %x is reserved by the requests %s and %s", pubkey, other, name)
		}
		c.reserver[string(pubkey)] = name
		k := c.view.Key(pubkey)
		if k.GetReservedBy() != name {
			c.failf("key %x of request %s is reserved by %q", pubkey, name, k.GetReservedBy())
		}
		if k.GetState() == fsmpb.KeyState_KEY_STATE_FREE {
			ready++
		}
		if k.GetHolder() != nil && !r.GetBlocked() {
			c.failf("key %x of request %s, which is not blocked, is held", pubkey, name)
		}
	}
	return ready
}

func (c *checker) checkKeys() {
	counts := make([]uint64, len(c.meta.GetKeyCounts()))
	for k := range c.view.Keys(nil) {
		counts[k.GetState()]++
		_, owned := c.owner[string(k.GetPubkey())]
		held := k.GetState() == fsmpb.KeyState_KEY_STATE_HELD || k.GetState() == fsmpb.KeyState_KEY_STATE_RESTING
		if held = held && !RestsAlone(k); held != owned || held != (k.GetHolder() != nil) {
			c.failf("key %x (%v) of %v is in an allocation: %t", k.GetPubkey(), k.GetState(), k.GetHolder(), owned)
		}
		if k.GetState() == fsmpb.KeyState_KEY_STATE_FREE && k.GetProofFence() != k.GetFence() {
			c.failf("key %x is free at fence %d, its last proof is of fence %d", k.GetPubkey(), k.GetFence(), k.GetProofFence())
		}
		if name := k.GetReservedBy(); name != c.reserver[string(k.GetPubkey())] {
			c.failf("key %x says that %q reserves it, which does not", k.GetPubkey(), name)
		}
		if retired := k.GetState() == fsmpb.KeyState_KEY_STATE_RETIRED; retired != (k.GetRetiredReason() != "") {
			c.failf("key %x is %v for the reason %q", k.GetPubkey(), k.GetState(), k.GetRetiredReason())
		}
		c.checkStake(k)
		c.checkImported(k)
	}
	if !slices.Equal(counts, c.meta.GetKeyCounts()) {
		c.failf("keys are counted as %v, there are %v", c.meta.GetKeyCounts(), counts)
	}
}

// checkImported sees to it that an imported key is not free before somebody has
// vouched for it, and that no other key looks like one.
func (c *checker) checkImported(k *fsmpb.Key) {
	if k.GetImported() != (len(k.GetSealed()) > 0) || k.GetImported() && k.GetIndex() != 0 {
		c.failf("key %x, imported: %t, has index %d and a sealed secret of %d bytes", k.GetPubkey(), k.GetImported(), k.GetIndex(), len(k.GetSealed()))
	}
	if k.GetImported() && k.GetAdopted() != nil {
		c.failf("key %x was imported and adopted", k.GetPubkey())
	}
	if !k.GetImported() && k.GetIndex() >= c.meta.GetNextIndex() {
		c.failf("key %x has index %d, the next is %d", k.GetPubkey(), k.GetIndex(), c.meta.GetNextIndex())
	}
	if d := c.view.Deposit(k.GetPubkey()); PaidElsewhere(k) && d != nil {
		c.failf("key %x, which was imported or adopted, has a deposit in state %v", k.GetPubkey(), d.GetState())
	}
	c.checkRestSinceImport(k)
}

// checkRestSinceImport sees to it that such a rest ends by proof, and by nothing else.
func (c *checker) checkRestSinceImport(k *fsmpb.Key) {
	if RestsSinceImport(k) && (k.GetFence() == 0 || k.GetProofFence() != 0 || k.GetReservedBy() != "") {
		c.failf("key %x rests since its import at fence %d, its last proof is of fence %d, reserved by %q", k.GetPubkey(), k.GetFence(), k.GetProofFence(), k.GetReservedBy())
	}
	waits := endsLoneRest(k) && k.GetFreeAtMs() > c.meta.GetClusterTimeMs()
	if !waits && (k.GetProof() != nil || k.GetFreeAtMs() != 0) {
		c.failf("key %x (%v) is free at %d ms, it is %d, by the proof %v", k.GetPubkey(), k.GetState(), k.GetFreeAtMs(), c.meta.GetClusterTimeMs(), k.GetProof())
	}
}

// checkSearch sees to it that no index which the search found is given out again.
func (c *checker) checkSearch() {
	s := c.meta.GetSeedSearch()
	if s.GetFound() > min(s.GetNextIndex(), c.meta.GetNextIndex()) {
		c.failf("the search found index %d, it has come to %d, the next index is %d", s.GetFound()-1, s.GetNextIndex(), c.meta.GetNextIndex())
	}
}

// checkStake sees to it that a key is handed out only with a final deposit, ours
// or, for an imported key, somebody else's.
func (c *checker) checkStake(k *fsmpb.Key) {
	d := c.view.Deposit(k.GetPubkey())
	final := d.GetState() == fsmpb.DepositState_DEPOSIT_STATE_FINAL || PaidElsewhere(k)
	switch k.GetState() {
	case fsmpb.KeyState_KEY_STATE_GENERATED:
		if d != nil || k.GetReservedBy() != "" {
			c.failf("generated key %x has a deposit or a reservation", k.GetPubkey())
		}
	case fsmpb.KeyState_KEY_STATE_DEPOSITING:
		if d == nil || final {
			c.failf("depositing key %x has a deposit in state %v", k.GetPubkey(), d.GetState())
		}
	case fsmpb.KeyState_KEY_STATE_FREE, fsmpb.KeyState_KEY_STATE_HELD, fsmpb.KeyState_KEY_STATE_RESTING:
		if !final {
			c.failf("key %x is %v with a deposit in state %v", k.GetPubkey(), k.GetState(), d.GetState())
		}
	case fsmpb.KeyState_KEY_STATE_RETIRED:
		if k.GetReservedBy() != "" || isUnpaid(d) {
			c.failf("retired key %x is reserved by %q, its deposit is in state %v", k.GetPubkey(), k.GetReservedBy(), d.GetState())
		}
	case fsmpb.KeyState_KEY_STATE_UNSPECIFIED:
	}
}

func (c *checker) checkDeposits() {
	counts := make([]uint64, len(c.meta.GetDepositCounts()))
	for d := range c.view.Deposits(nil) {
		counts[d.GetState()]++
		if c.view.Key(d.GetPubkey()) == nil {
			c.failf("a deposit for %x, which is no key", d.GetPubkey())
		}
		c.checkNonces(d)
	}
	if !slices.Equal(counts, c.meta.GetDepositCounts()) {
		c.failf("deposits are counted as %v, there are %v", c.meta.GetDepositCounts(), counts)
	}
}

// checkThrift sees to it that no stake is planned while there is a key that
// nobody waits for and that needs none.
func (c *checker) checkThrift() {
	w := &write{txn: c.view.txn}
	if d, k := w.firstUnpaid(), w.firstPaid(); d != nil && k != nil {
		c.failf("a deposit for %x is planned while key %x needs none and is reserved by nobody", d.GetPubkey(), k.GetPubkey())
	}
}

// checkAccounts sees to it that a stop has its reason, and that a resume that
// was used up is gone.
func (c *checker) checkAccounts() {
	for a := range c.view.Accounts() {
		if a.GetStop() != nil && a.GetStop().GetReason() == "" {
			c.failf("account %x is stopped without a reason", a.GetAddress())
		}
		if n := a.GetResumedNonce(); n != 0 && n <= a.GetNextNonce() {
			c.failf("account %x at nonce %d was resumed for those below %d", a.GetAddress(), a.GetNextNonce(), n)
		}
		c.checkExplained(a)
	}
}

// checkExplained sees to it that every nonce which the account has used belongs
// to a deposit, or was given up.
func (c *checker) checkExplained(a *fsmpb.Account) {
	for _, r := range a.GetGivenUp() {
		for nonce := r.GetFirst(); nonce <= r.GetLast(); nonce++ {
			c.claim(nil, a.GetChainId(), a.GetAddress(), nonce)
		}
	}
	for nonce := a.GetFirstNonce(); nonce < a.GetNextNonce(); nonce++ {
		if _, ok := c.nonces[nonceName(a.GetChainId(), a.GetAddress(), nonce)]; !ok {
			c.failf("nonce %d of account %x is used up, and nobody knows for what", nonce, a.GetAddress())
		}
	}
}

// checkNonces sees to it that a nonce belongs to one deposit, and a signed
// deposit to one nonce, whatever the number of its attempts. A nonce that was
// lost is used for nothing again.
func (c *checker) checkNonces(d *fsmpb.Deposit) {
	attempts := make([]uint64, 0, len(d.GetAttempts()))
	for _, a := range d.GetAttempts() {
		attempts = append(attempts, a.GetNonce())
	}
	attempts = slices.Compact(attempts)
	if signed := !isPlanned(d); signed != (len(attempts) == 1) {
		c.failf("deposit %x is %v with the nonces %v", d.GetPubkey(), d.GetState(), attempts)
	}
	for _, nonce := range attempts {
		c.claim(d, d.GetChainId(), d.GetAccount(), nonce)
	}
	for i, l := range d.GetLosses() {
		if i > 0 && sameNonce(l, d.GetLosses()[i-1]) {
			continue // attempts with several fees, lost together
		}
		c.claim(d, l.GetChainId(), l.GetAccount(), l.GetNonce())
	}
}

func sameNonce(a, b *fsmpb.Loss) bool {
	return a.GetNonce() == b.GetNonce() && a.GetChainId() == b.GetChainId() && string(a.GetAccount()) == string(b.GetAccount())
}

func (c *checker) claim(d *fsmpb.Deposit, chainID uint64, account []byte, nonce uint64) {
	next := c.view.Account(chainID, account).GetNextNonce()
	name := nonceName(chainID, account, nonce)
	if other, ok := c.nonces[name]; ok || nonce >= next {
		c.failf("nonce %d of deposit %x (next %d) belongs to %x too", nonce, d.GetPubkey(), next, other)
	}
	c.nonces[name] = d.GetPubkey()
}

func nonceName(chainID uint64, account []byte, nonce uint64) string {
	return string(accountKey(chainID, account)) + string(orderKey(nonce))
}
