package fsm

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const (
	addressLength = 20
	// maxIndex bounds indexes of the seed (EIP-2333: below 2^32).
	maxIndex = 1<<32 - 1
)

// adoptKeys takes over keys of the seed that were paid for before the cluster had
// it, as far as the search for them has come. Somebody's validator may sign with
// them, so they rest like imported keys. Indexes below the last that was found are
// never used: whoever made the deposits may have plans, or keystores, for them.
func (w *write) adoptKeys(c *fsmpb.AdoptKeys) Result {
	if w.secret(SecretSeed) == nil {
		return Result{Refusal: refuse(SeedMissing, "the cluster has no seed")}
	}
	if no := w.checkSearch(c); no != nil {
		return Result{Refusal: no}
	}
	for i, f := range c.GetFound() {
		if no := w.checkFound(c, i, f); no != nil {
			return Result{Refusal: no}
		}
	}
	if no := w.checkIndexes(c.GetFound()); no != nil {
		return Result{Refusal: no}
	}
	s := proto.CloneOf(c.GetSearch())
	s.Found = 0
	if old := w.meta.GetSeedSearch(); SameSearch(s, old) {
		s.Found, s.StartBlock = old.GetFound(), max(s.GetStartBlock(), old.GetStartBlock())
	}
	adopted := 0
	for _, f := range c.GetFound() {
		s.Found = f.GetIndex() + 1
		if w.adopt(f) {
			adopted++
		}
	}
	w.meta.SeedSearch, w.meta.NextIndex = s, max(w.meta.GetNextIndex(), s.GetFound())
	if s.GetDone() {
		w.record("seed.search", SecretSeed, fmt.Sprintf("the keys below index %d on chain %d, up to block %d; the last with a deposit has index %d",
			s.GetNextIndex(), s.GetChainId(), s.GetBlockNumber(), int64(s.GetFound())-1)) //nolint:gosec // checkSearch bounds it
	}
	if adopted > 0 {
		w.settle()
	}
	return Result{}
}

// checkSearch refuses a part of a search that does not begin where it has come to.
func (w *write) checkSearch(c *fsmpb.AdoptKeys) *Refusal {
	s, old := c.GetSearch(), w.meta.GetSeedSearch()
	if s.GetChainId() == 0 || len(s.GetGenesisHash()) != blockHashLength || len(s.GetContract()) != addressLength {
		return refuse(Invalid, "a search needs a chain ID, a genesis hash and a contract")
	}
	if no := w.checkGenesis(s.GetChainId(), s.GetGenesisHash()); no != nil {
		return no
	}
	if s.GetNextIndex() < c.GetFirstIndex() || s.GetNextIndex() > maxIndex {
		return refuse(Invalid, "indexes from %d to before %d were searched", c.GetFirstIndex(), s.GetNextIndex())
	}
	from := uint64(0) // of another contract, or with earlier events, all are searched
	if SameSearch(s, old) {
		if old.GetDone() {
			return refuse(StaleIndex, "the search has come to its end")
		}
		from = old.GetNextIndex()
	}
	if c.GetFirstIndex() != from {
		return refuse(StaleIndex, "searched from index %d: the search has come to %d", c.GetFirstIndex(), from)
	}
	return nil
}

// SameSearch reports whether one search goes on with another: both are in the
// events of one contract, and the one knows of no earlier events than the other.
func SameSearch(one, other *fsmpb.SeedSearch) bool {
	return one.GetChainId() == other.GetChainId() && bytes.Equal(one.GetGenesisHash(), other.GetGenesisHash()) &&
		bytes.Equal(one.GetContract(), other.GetContract()) && one.GetStartBlock() >= other.GetStartBlock()
}

func (w *write) checkFound(c *fsmpb.AdoptKeys, i int, f *fsmpb.FoundKey) *Refusal {
	index, least := f.GetIndex(), c.GetFirstIndex()
	if i > 0 {
		least = c.GetFound()[i-1].GetIndex() + 1
	}
	if len(f.GetPubkey()) != PubkeyLength || index < least || index >= c.GetSearch().GetNextIndex() || len(f.GetStake().GetTxHash()) != blockHashLength {
		return refuse(Invalid, "key %d has a public key of %d bytes, index %d, and a transaction of %d bytes", i, len(f.GetPubkey()), index, len(f.GetStake().GetTxHash()))
	}
	for _, earlier := range c.GetFound()[:i] {
		if bytes.Equal(earlier.GetPubkey(), f.GetPubkey()) {
			return refuse(Invalid, "key %d has the public key of another", i)
		}
	}
	if k := w.key(f.GetPubkey()); k != nil && !k.GetImported() && k.GetIndex() != index {
		return refuse(StaleIndex, "public key %x is known with index %d, not %d", f.GetPubkey(), k.GetIndex(), index)
	}
	return nil
}

// checkIndexes refuses another key for an index that has one. Only a search that
// begins anew finds unknown keys at indexes that were passed before, so that rare
// case may look at all keys.
func (w *write) checkIndexes(found []*fsmpb.FoundKey) *Refusal {
	unknown := make(map[uint64][]byte)
	for _, f := range found {
		if f.GetIndex() < w.meta.GetNextIndex() && w.key(f.GetPubkey()) == nil {
			unknown[f.GetIndex()] = f.GetPubkey()
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	for k := range rows[*fsmpb.Key](w.txn, tableKeys, indexID) {
		if pubkey, ok := unknown[k.GetIndex()]; ok && !k.GetImported() {
			return refuse(StaleIndex, "index %d has the public key %x, not %x", k.GetIndex(), k.GetPubkey(), pubkey)
		}
	}
	return nil
}

// adopt takes one key over and reports whether it was not known, or only planned
// to be paid for. Whatever was signed for a key once stays in the account: its
// deposit may be the one that was found. Only while a restore is open is a deposit
// that was found in another transaction than ours one that we made all the same.
func (w *write) adopt(f *fsmpb.FoundKey) bool {
	k := w.key(f.GetPubkey())
	switch {
	case k == nil:
		w.meta.NextKey++
		k = &fsmpb.Key{Pubkey: f.GetPubkey(), Ordinal: w.meta.GetNextKey(), Index: f.GetIndex()}
	case k.GetState() != fsmpb.KeyState_KEY_STATE_GENERATED && k.GetState() != fsmpb.KeyState_KEY_STATE_DEPOSITING:
		return false
	default:
		d := w.deposit(f.GetPubkey())
		if d != nil && !isUnpaid(d) && !w.paidSince(d, f) {
			return false
		}
		k = copyKey(k)
		w.leave(k)
		if d != nil {
			w.giveUpNonces(d)
			w.deleteDeposit(d)
		}
	}
	k.State, k.Fence, k.Adopted, k.Restored = fsmpb.KeyState_KEY_STATE_RESTING, w.nextFence(), f.GetStake(), false
	w.putKey(k)
	w.record("key.adopt", hexName(k.GetPubkey()), fmt.Sprintf("index %d of the seed was paid for in transaction %s, block %d",
		k.GetIndex(), hexName(f.GetStake().GetTxHash()), f.GetStake().GetBlockNumber()))
	return true
}

// paidSince reports whether the stake that was found was paid by the history that a
// restore lost, in a transaction which took the place of those that are known.
func (w *write) paidSince(d *fsmpb.Deposit, f *fsmpb.FoundKey) bool {
	return isRestoreOpen(w.meta) && (isPending(d) || isPlanned(d)) && !logged(d, f.GetStake().GetTxHash())
}

// giveUpNonces keeps account of the nonces of a deposit that is about to be dropped.
func (w *write) giveUpNonces(d *fsmpb.Deposit) {
	give := func(chainID uint64, address []byte, nonce uint64) {
		a := proto.CloneOf(w.account(chainID, address))
		giveUp(a, nonce, nonce)
		mustInsert(w.txn, tableAccounts, a)
	}
	for i, l := range d.GetLosses() {
		if i == 0 || !sameNonce(l, d.GetLosses()[i-1]) {
			give(l.GetChainId(), l.GetAccount(), l.GetNonce())
		}
	}
	if len(d.GetAttempts()) > 0 {
		give(d.GetChainId(), d.GetAccount(), d.GetAttempts()[0].GetNonce())
	}
}

// leave takes a key that is not free out of the request that reserves it, which
// then lacks one.
func (w *write) leave(k *fsmpb.Key) {
	if r := w.requestOf(k); r != nil {
		r = copyRequest(r)
		r.Reserved = slices.DeleteFunc(r.GetReserved(), func(b []byte) bool { return bytes.Equal(b, k.GetPubkey()) })
		mustInsert(w.txn, tableRequests, r)
	}
	k.ReservedBy = ""
}
