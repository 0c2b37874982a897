package fsm

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/fsm/memdb"
)

// Codes of what a restore lacks before it can be confirmed.
const (
	// MissingSeedSearch: deposits of the seed's keys have to be looked for again.
	MissingSeedSearch = "seed-search"
	// MissingAccount: the next nonce of a funding account is not known.
	MissingAccount = "account"
)

// Missing is something that has to be found out before a restore can be confirmed.
type Missing struct {
	Code   string
	Detail string
}

func isRestoreOpen(m *fsmpb.Meta) bool { return m.GetRestore().GetOpen() }

// RestoreOpen reports whether a backup was restored and no operator has confirmed it:
// no key changes its holder, no deposit is signed and nothing is applied to logical
// clouds.
func (v *View) RestoreOpen() bool { return isRestoreOpen(v.Meta()) }

// RestoreMissing lists what has to be found out before the restore can be
// confirmed, nothing if none is open.
func (v *View) RestoreMissing() []Missing { return missing(v.txn, v.Meta(), false) }

func missing(txn *memdb.Txn, meta *fsmpb.Meta, noDeposits bool) []Missing {
	var list []Missing
	if !isRestoreOpen(meta) {
		return nil
	}
	search := meta.GetSeedSearch()
	seed := first[*fsmpb.Secret](txn, tableSecrets, []byte(SecretSeed))
	if seed != nil && !search.GetDone() && (meta.GetRestore().GetDeposited() || !noDeposits) {
		detail := "deposits of the seed's keys have to be looked for on the chain again"
		if n := search.GetNextIndex(); n > 0 {
			detail += fmt.Sprintf(": it has come to index %d", n)
		}
		list = append(list, Missing{MissingSeedSearch, detail})
	}
	for a := range lowerBound[*fsmpb.Account](txn, tableAccounts, nil) {
		elsewhere := search.GetDone() && search.GetChainId() != a.GetChainId()
		if a.GetUnsettled() && !elsewhere {
			list = append(list, Missing{MissingAccount, fmt.Sprintf("the next nonce of account %s on chain %d is not known yet: all of its transactions have to be final", hexName(a.GetAddress()), a.GetChainId())})
		}
	}
	return list
}

// heldBack refuses what could hand out, sign, or apply something that the history
// which was lost handed out, signed or applied already. Higher fees for a deposit that
// was signed before the backup are none of that: they go to the nonce that it has, of
// which the chain runs one transaction, in whatever history it was signed.
func (w *write) heldBack(c *fsmpb.Command) *Refusal {
	if !isRestoreOpen(w.meta) {
		return nil
	}
	switch c.GetBody().(type) {
	case *fsmpb.Command_Allocate, *fsmpb.Command_RenewLease,
		*fsmpb.Command_GenerateKeys, *fsmpb.Command_SignDeposits,
		*fsmpb.Command_ActOnCloud, *fsmpb.Command_InstallCloudKey, *fsmpb.Command_RequestCertificates, *fsmpb.Command_DiscloseKubeconfig:
		return refuse(RestoreUnconfirmed, "a backup was restored (restore %d), and no operator has confirmed it: see keysteward restore status", w.meta.GetRestore().GetNumber())
	}
	return nil
}

// confirmRestore ends what a restore holds back. Keys that rest because of it alone
// are free after the wait; allocations go on resting as others do. Repeating it is
// safe. Its value is nil.
func (w *write) confirmRestore(c *fsmpb.ConfirmRestore) Result {
	r := w.meta.GetRestore()
	switch {
	case c.GetProof().GetKind() != fsmpb.Proof_KIND_OPERATOR:
		return Result{Refusal: refuse(Invalid, "a proof of kind %d confirms no restore: that takes an operator's word", c.GetProof().GetKind())}
	case r == nil || r.GetNumber() != c.GetNumber():
		return Result{Refusal: refuse(NotFound, "restore %d: the last one is %d", c.GetNumber(), r.GetNumber())}
	case !r.GetOpen():
		return Result{}
	}
	if list := missing(w.txn, w.meta, c.GetNoDeposits()); len(list) > 0 {
		words := make([]string, len(list))
		for i, m := range list {
			words[i] = m.Detail
		}
		return Result{Refusal: refuse(RestoreIncomplete, "%s", strings.Join(words, "; "))}
	}
	r = proto.CloneOf(r)
	r.Open, r.ConfirmedBy, r.ConfirmedWallMs = false, brief(w.cmd.GetCaller().GetName()), w.cmd.GetWallMs()
	w.meta.Restore = r
	w.record("restore.confirm", w.meta.GetClusterId(), fmt.Sprintf("restore %d: %s by %s", r.GetNumber(), c.GetProof().GetDetail(), c.GetProof().GetBy()))
	w.endRestored(c)
	return Result{}
}

// endRestored lets the keys that rest for their mark alone become free, after the
// wait. Those with a deposit on its way keep it until that is final or lost: if it is
// lost they are retired, because the history that is not known may have signed for
// them with a nonce that comes yet.
func (w *write) endRestored(c *fsmpb.ConfirmRestore) {
	proof := &fsmpb.Proof{
		Kind: fsmpb.Proof_KIND_OPERATOR, By: brief(c.GetProof().GetBy()), Detail: brief(c.GetProof().GetDetail()), WallMs: w.cmd.GetWallMs(),
	}
	for _, k := range gather(rows[*fsmpb.Key](w.txn, tableKeys, indexRestored)) {
		if k.GetState() == fsmpb.KeyState_KEY_STATE_RESTING {
			k = copyKey(k)
			k.Proof, k.FreeAtMs = proof, w.meta.GetClusterTimeMs()+min(c.GetWaitMs(), maxWaitMS)
			w.putKey(k)
		} else if isPlanned(w.deposit(k.GetPubkey())) {
			w.retire(newRetirement(), k, RetiredRestored, "its deposit was lost, and what was signed for it after the backup is not known")
		}
	}
	w.endLoneRests()
}

// settleAccount takes over which nonce of an account is the next one. Those between
// were used by the history that was lost. A search for deposits that was made before
// begins anew: their transactions may have landed since. Its value is nil.
func (w *write) settleAccount(c *fsmpb.SettleAccount) Result {
	a := w.account(c.GetChainId(), c.GetAccount())
	switch next := c.GetNextNonce(); {
	case a == nil:
		return Result{Refusal: refuse(NotFound, "account %x on chain %d is not open", c.GetAccount(), c.GetChainId())}
	case next > maxNonce:
		return Result{Refusal: refuse(Invalid, "nonce %d", next)}
	case !a.GetUnsettled() && next == a.GetNextNonce():
		return Result{}
	case !a.GetUnsettled() && !isRestoreOpen(w.meta):
		return Result{Refusal: refuse(WrongState, "account %x on chain %d is settled", c.GetAccount(), c.GetChainId())}
	case next < a.GetNextNonce():
		return Result{Refusal: refuse(StaleNonce, "nonce %d: the next one is %d", next, a.GetNextNonce())}
	}
	if isRestoreOpen(w.meta) {
		w.meta.SeedSearch = nil
	}
	from := a.GetNextNonce()
	a = proto.CloneOf(a)
	a.Unsettled = false
	if c.GetNextNonce() > from {
		giveUp(a, from, c.GetNextNonce()-1)
	}
	w.moveNonce(a, c.GetNextNonce())
	w.record("account.settle", hexName(a.GetAddress()), fmt.Sprintf("the next nonce was %d and is %d, by block %d", from, c.GetNextNonce(), c.GetBlockNumber()))
	return Result{}
}

// giveUp adds nonces to those that no deposit of this state explains, in order.
func giveUp(a *fsmpb.Account, from, to uint64) {
	at, _ := slices.BinarySearchFunc(a.GetGivenUp(), from, func(r *fsmpb.NonceRange, n uint64) int {
		if r.GetFirst() < n {
			return -1
		}
		return 1
	})
	a.GivenUp = slices.Insert(a.GetGivenUp(), at, &fsmpb.NonceRange{First: from, Last: to})
}

// confirmToken lets a token in again that a restore suspended. Its value is the
// [*fsmpb.Token] as it is then.
func (w *write) confirmToken(c *fsmpb.ConfirmToken) Result {
	t := first[*fsmpb.Token](w.txn, tableTokens, []byte(c.GetId()))
	switch {
	case t == nil:
		return Result{Refusal: refuse(NotFound, "the cluster has no token %q", brief(c.GetId()))}
	case !t.GetSuspended():
		return Result{Value: t}
	}
	t = proto.CloneOf(t)
	t.Suspended = false
	mustInsert(w.txn, tableTokens, t)
	w.record("token.confirm", t.GetId(), tokenText(t))
	return Result{Value: t}
}
