package fsm

import (
	"iter"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// maxSealedKey is the longest ciphertext, in bytes, of one secret key: there are
// 32 bytes to hide, and what a cipher adds.
const maxSealedKey = 256

// indexImportFreeAt is a partial index of keys: those that [endsLoneRest] names,
// by the cluster time that ends their rest.
const indexImportFreeAt = "import_free_at"

// Imported is the value of an ImportKeys command: whether each of its keys, in
// their order, was new. The others are known and stayed as they were.
type Imported []bool

// importKeys adds keys that were made elsewhere. Somebody's validator may sign
// with them, so they rest, and nothing but an operator's word ends that. A key
// that is known, derived or imported, stays as it is: repeating is harmless.
func (w *write) importKeys(c *fsmpb.ImportKeys) Result {
	for i, k := range c.GetKeys() {
		if len(k.GetPubkey()) != PubkeyLength || len(k.GetSealed()) == 0 || len(k.GetSealed()) > maxSealedKey {
			return Result{Refusal: refuse(Invalid, "key %d has a public key of %d bytes and a sealed secret of %d", i, len(k.GetPubkey()), len(k.GetSealed()))}
		}
		if r := w.checkSealed(k.GetSealed()); r != nil {
			return Result{Refusal: r}
		}
	}
	fresh := make(Imported, len(c.GetKeys()))
	for i, k := range c.GetKeys() {
		if w.key(k.GetPubkey()) != nil {
			continue
		}
		fresh[i] = true
		w.meta.NextKey++
		w.putKey(&fsmpb.Key{
			Pubkey: k.GetPubkey(), State: fsmpb.KeyState_KEY_STATE_RESTING, Ordinal: w.meta.GetNextKey(),
			Fence: w.nextFence(), Imported: true, Sealed: k.GetSealed(),
		})
		w.record("key.import", hexName(k.GetPubkey()), "")
	}
	return Result{Value: fresh}
}

// PaidElsewhere reports whether the key came with its stake: it was imported, or
// adopted because a deposit of it was found. Nothing is ever paid for it.
func PaidElsewhere(k *fsmpb.Key) bool { return k.GetImported() || k.GetAdopted() != nil }

// RestsAlone reports whether the key rests without an allocation: since it was
// imported or adopted, or since a restore.
func RestsAlone(k *fsmpb.Key) bool {
	return k.GetState() == fsmpb.KeyState_KEY_STATE_RESTING && k.GetHolder() == nil
}

// LoneKeys iterates over the keys that rest without an allocation, in order of birth.
func (v *View) LoneKeys() iter.Seq[*fsmpb.Key] {
	return rows[*fsmpb.Key](v.txn, tableKeys, indexAlone)
}

// RestsSinceImport reports whether nobody has vouched yet that the validator
// which had the key elsewhere is stopped, or the wait after that is not over.
func RestsSinceImport(k *fsmpb.Key) bool {
	return RestsAlone(k) && PaidElsewhere(k) && !k.GetRestored()
}

// endsLoneRest reports whether the key waits for its rest to end by itself.
func endsLoneRest(k *fsmpb.Key) bool { return RestsAlone(k) && k.GetProof() != nil }

// confirmStopped ends the rest that a key has had since its import or adoption: once wait_ms
// of cluster time have passed it is free. The first proof counts; a repeat is
// accepted and changes nothing. A rest in an allocation is for [fsmpb.Release].
func (w *write) confirmStopped(c *fsmpb.ConfirmStopped) Result {
	if c.GetProof().GetKind() != fsmpb.Proof_KIND_OPERATOR {
		return Result{Refusal: refuse(Invalid, "a proof of kind %d ends no rest since an import: that takes an operator's word", c.GetProof().GetKind())}
	}
	old := w.key(c.GetPubkey())
	switch {
	case !PaidElsewhere(old):
		return Result{Refusal: refuse(NotFound, "no key %s was imported or adopted", hexName(c.GetPubkey()))}
	case old.GetFence() != c.GetFence():
		return Result{Refusal: refuse(StaleFence, "fence %d: the key %s is at fence %d", c.GetFence(), hexName(c.GetPubkey()), old.GetFence())}
	case old.GetHolder() != nil:
		return Result{Refusal: refuse(NotFound, "the key %s is with pod %s: its rest does not come from the import", hexName(c.GetPubkey()), podName(old.GetHolder()))}
	case old.GetRestored() && old.GetProof() == nil:
		return Result{Refusal: refuse(RestoreUnconfirmed, "the key %s rests since a restore: what ends that is keysteward restore confirm", hexName(c.GetPubkey()))}
	case !RestsSinceImport(old) || old.GetProof() != nil:
		return Result{}
	}
	k := copyKey(old)
	k.Proof, k.FreeAtMs = c.GetProof(), w.meta.GetClusterTimeMs()+min(c.GetWaitMs(), maxWaitMS)
	w.putKey(k)
	w.record("key.proof", hexName(k.GetPubkey()), k.GetProof().GetKind().String()+" by "+k.GetProof().GetBy())
	w.endLoneRests()
	return Result{}
}

// endLoneRests frees the keys outside of allocations whose wait after the proof is over.
func (w *write) endLoneRests() {
	var freed []*fsmpb.Key
	for k := range rows[*fsmpb.Key](w.txn, tableKeys, indexImportFreeAt) {
		if k.GetFreeAtMs() > w.meta.GetClusterTimeMs() {
			break
		}
		k = copyKey(k)
		if k.GetRestored() {
			k.ProvenWallMs = max(k.GetProvenWallMs(), k.GetProof().GetWallMs())
		}
		k.Proof, k.FreeAtMs, k.ProofFence, k.Restored = nil, 0, k.GetFence(), false
		w.record("key.free", hexName(k.GetPubkey()), "")
		freed = append(freed, k)
	}
	if len(freed) > 0 {
		w.free(freed)
	}
}
