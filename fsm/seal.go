package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/fsm/memdb"
)

const (
	firstTerm  = 1
	termBytes  = 4         // in front of every ciphertext: the term of its data key, big endian
	maxReseal  = 512       // ciphertexts in one command
	maxKeyring = 256 << 10 // bytes
)

// SealedTerm is the term of the data key that a ciphertext is under, 0 for what
// is too short to have one.
func SealedTerm(sealed []byte) uint32 {
	if len(sealed) < termBytes {
		return 0
	}
	return binary.BigEndian.Uint32(sealed)
}

func hasSealed(k *fsmpb.Key) bool { return len(k.GetSealed()) > 0 }

// checkSealed refuses a ciphertext that nobody could open: one under a data key
// that was given up since its proposer looked, or that the keyring never had; and
// one that a key-encryption key opens which was removed since; and one from before a
// restore, which may have brought another data key of the same term.
// Without a keyring there is nothing to compare with.
func (w *write) checkSealed(sealed []byte) *Refusal {
	if no := w.checkHistory(StaleSeal); no != nil {
		return no
	}
	s, term := w.meta.GetSeal(), SealedTerm(sealed)
	oldest := max(s.GetOldestTerm(), s.GetNewestRemoval())
	if w.secret(SecretKeyring) == nil || term >= oldest && term <= s.GetCurrentTerm() {
		return nil
	}
	return refuse(StaleSeal, "a ciphertext of term %d, taken are %d to %d", term, oldest, s.GetCurrentTerm())
}

// checkHistory refuses what was sealed under, or made of, the keyring of a history that
// a restore gave up.
func (w *write) checkHistory(code Code) *Refusal {
	made, now := w.cmd.GetKeyringRestore(), w.meta.GetRestore().GetNumber()
	if made == now {
		return nil
	}
	return refuse(code, "made with the keyring of restore %d, the cluster is at restore %d", made, now)
}

// seal is the counters' part about the data keys.
func (w *write) seal() *fsmpb.SealState {
	if w.meta.GetSeal() == nil {
		w.meta.Seal = &fsmpb.SealState{}
	}
	return w.meta.GetSeal()
}

// countSealed keeps account of what is under which term; either may be nil.
func (w *write) countSealed(old, sealed []byte) {
	if bytes.Equal(old, sealed) {
		return
	}
	if len(old) > 0 {
		termOf(w.seal(), SealedTerm(old)).Records--
	}
	if len(sealed) > 0 {
		t := termOf(w.seal(), SealedTerm(sealed))
		t.Records++
		t.Uses++
	}
}

// termOf is the account of a term, which is made if it is missing.
func termOf(s *fsmpb.SealState, term uint32) *fsmpb.SealTerm {
	i, found := slices.BinarySearchFunc(s.GetTerms(), term, func(t *fsmpb.SealTerm, term uint32) int {
		return int(t.GetTerm()) - int(term)
	})
	if !found {
		s.Terms = slices.Insert(s.GetTerms(), i, &fsmpb.SealTerm{Term: term})
	}
	return s.GetTerms()[i]
}

// countAllSealed makes the account anew for a snapshot of the time before it was kept.
func countAllSealed(txn *memdb.Txn) {
	meta := first[*fsmpb.Meta](txn, tableMeta, []byte{0})
	if meta.GetSeal() != nil || first[*fsmpb.Secret](txn, tableSecrets, []byte(SecretKeyring)) == nil {
		return
	}
	meta = proto.CloneOf(meta)
	meta.Seal = &fsmpb.SealState{Revision: 1, CurrentTerm: firstTerm, OldestTerm: firstTerm}
	for sealed := range everySealed(txn) {
		t := termOf(meta.GetSeal(), SealedTerm(sealed))
		t.Records++
		t.Uses++
	}
	mustInsert(txn, tableMeta, meta)
}

// everySealed iterates over all ciphertexts that are under data keys.
func everySealed(txn *memdb.Txn) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if s := first[*fsmpb.Secret](txn, tableSecrets, []byte(SecretSeed)); s != nil && !yield(s.GetSealed()) {
			return
		}
		for k := range rows[*fsmpb.Key](txn, tableKeys, indexSealed) {
			if !yield(k.GetSealed()) {
				return
			}
		}
		for o := range rows[*fsmpb.Object](txn, tableObjects, indexSealed) {
			if !yield(sealedIn(o)) {
				return
			}
		}
	}
}

// beginTerm lets another data key seal from now on.
func (w *write) beginTerm(term uint32) {
	s := w.seal()
	s.Revision++
	s.CurrentTerm, s.SinceMs, s.SinceWallMs = term, w.meta.GetClusterTimeMs(), w.cmd.GetWallMs()
}

// keyringChanges names the changes of a keyring in the audit records.
var keyringChanges = map[fsmpb.UpdateKeyring_Change]string{
	fsmpb.UpdateKeyring_CHANGE_ROTATE: "keyring.rotate",
	fsmpb.UpdateKeyring_CHANGE_ADD:    "keyring.add",
	fsmpb.UpdateKeyring_CHANGE_REMOVE: "keyring.remove",
	fsmpb.UpdateKeyring_CHANGE_REWRAP: "keyring.rewrap",
	fsmpb.UpdateKeyring_CHANGE_PRUNE:  "keyring.prune",
}

// updateKeyring replaces the keyring. The new one has to be made from the one
// that is there, terms only grow, and no data key is given up while something is
// under it: its bytes are the only way to those secrets.
func (w *write) updateKeyring(c *fsmpb.UpdateKeyring) Result {
	if no := w.checkHistory(StaleKeyring); no != nil {
		return Result{Refusal: no}
	}
	s := w.meta.GetSeal()
	action := keyringChanges[c.GetChange()]
	oldest := w.oldestInUse()
	switch {
	case len(c.GetSealed()) == 0, len(c.GetSealed()) > maxKeyring, action == "":
		return Result{Refusal: refuse(Invalid, "a keyring of %d bytes, change %d", len(c.GetSealed()), c.GetChange())}
	case w.secret(SecretKeyring) == nil:
		return Result{Refusal: refuse(NotFound, "there is no keyring yet")}
	case c.GetRevision() != s.GetRevision():
		return Result{Refusal: refuse(StaleKeyring, "made from revision %d, the keyring has %d", c.GetRevision(), s.GetRevision())}
	case c.GetCurrentTerm() != s.GetCurrentTerm() && c.GetCurrentTerm() != s.GetCurrentTerm()+1,
		c.GetOldestTerm() < s.GetOldestTerm(), c.GetOldestTerm() > c.GetCurrentTerm():
		return Result{Refusal: refuse(Invalid, "terms %d to %d after %d to %d", c.GetOldestTerm(), c.GetCurrentTerm(), s.GetOldestTerm(), s.GetCurrentTerm())}
	case c.GetOldestTerm() > oldest:
		return Result{Refusal: refuse(StaleKeyring, "something is still sealed under term %d", oldest)}
	}
	mustInsert(w.txn, tableSecrets, &fsmpb.Secret{Name: SecretKeyring, Sealed: c.GetSealed()})
	if c.GetCurrentTerm() != s.GetCurrentTerm() {
		w.beginTerm(c.GetCurrentTerm())
	} else {
		s.Revision++
	}
	s.OldestTerm = c.GetOldestTerm()
	if c.GetChange() == fsmpb.UpdateKeyring_CHANGE_REMOVE {
		s.NewestRemoval = c.GetCurrentTerm()
	}
	s.Terms = slices.DeleteFunc(s.GetTerms(), func(t *fsmpb.SealTerm) bool { return t.GetTerm() < s.GetOldestTerm() })
	w.record(action, SecretKeyring, c.GetKey())
	return Result{}
}

// oldestInUse is the lowest term that something is sealed under, or else the current one.
func (w *write) oldestInUse() uint32 {
	for _, t := range w.meta.GetSeal().GetTerms() {
		if t.GetRecords() > 0 {
			return t.GetTerm()
		}
	}
	return w.meta.GetSeal().GetCurrentTerm()
}

// Resealed is the value of a Reseal command: how many ciphertexts it replaced.
type Resealed int

// reseal replaces ciphertexts by ones under the current term. What changed since
// the command was made is left out, so repeating is harmless.
func (w *write) reseal(c *fsmpb.Reseal) Result {
	if n := len(c.GetRecords()); n == 0 || n > maxReseal {
		return Result{Refusal: refuse(Invalid, "%d ciphertexts, want 1 to %d", n, maxReseal)}
	}
	if no := w.checkHistory(StaleSeal); no != nil {
		return Result{Refusal: no}
	}
	for _, r := range c.GetRecords() {
		if SealedTerm(r.GetSealed()) != w.meta.GetSeal().GetCurrentTerm() || w.secret(SecretKeyring) == nil {
			return Result{Refusal: refuse(StaleSeal, "a ciphertext of term %d, the keyring seals under %d", SealedTerm(r.GetSealed()), w.meta.GetSeal().GetCurrentTerm())}
		}
		if len(r.GetPubkey()) > 0 && len(r.GetSealed()) > maxSealedKey {
			return Result{Refusal: refuse(Invalid, "a sealed key of %d bytes", len(r.GetSealed()))}
		}
	}
	done := 0
	for _, r := range c.GetRecords() {
		if w.resealOne(r) {
			done++
		}
	}
	if done > 0 { // one record for all: which they were tells nothing
		w.record("keyring.reseal", SecretKeyring, fmt.Sprintf("%d under term %d", done, w.meta.GetSeal().GetCurrentTerm()))
	}
	return Result{Value: Resealed(done)}
}

func (w *write) resealOne(r *fsmpb.Resealed) bool {
	same := func(old []byte) bool {
		sum := sha256.Sum256(old)
		return len(old) > 0 && bytes.Equal(sum[:], r.GetOldSha256())
	}
	if r.GetSecret() == SecretSeed {
		old := w.secret(SecretSeed)
		if !same(old.GetSealed()) {
			return false
		}
		w.putSecret(&fsmpb.Secret{Name: SecretSeed, Sealed: r.GetSealed(), Fingerprint: old.GetFingerprint()})
		return true
	}
	if r.GetKubernetesCluster() != "" || r.GetCloud() != "" {
		return w.resealObject(r, same)
	}
	old := w.key(r.GetPubkey())
	if !same(old.GetSealed()) {
		return false
	}
	k := copyKey(old)
	k.Sealed = r.GetSealed()
	w.putKey(k)
	return true
}

// resealObject replaces the ciphertext of a Kubernetes cluster or a logical cloud.
func (w *write) resealObject(r *fsmpb.Resealed, same func([]byte) bool) bool {
	kind, names := kindCluster, r.GetKubernetesCluster()
	if names == "" {
		kind, names = kindCloud, r.GetCloud()
	}
	above, name, _ := strings.Cut(names, "/")
	old := w.object(kind, above, name)
	if old == nil || !same(sealedIn(old)) {
		return false
	}
	o := proto.CloneOf(old)
	if o.GetCluster() != nil {
		o.GetCluster().Sealed = r.GetSealed()
	} else {
		o.GetCloud().Key.Sealed = r.GetSealed()
	}
	w.putObject(o)
	return true
}

// SealedBelow iterates over the imported keys whose ciphertext is under an older
// term than this one, oldest term first.
func (v *View) SealedBelow(term uint32) iter.Seq[*fsmpb.Key] {
	return func(yield func(*fsmpb.Key) bool) {
		for k := range rows[*fsmpb.Key](v.txn, tableKeys, indexSealed) {
			if SealedTerm(k.GetSealed()) >= term || !yield(k) {
				return
			}
		}
	}
}

// checkSealed looks at the account of what is under which data key.
func (c *checker) checkSealed() {
	s := c.meta.GetSeal()
	count := make(map[uint32]uint64)
	for sealed := range everySealed(c.view.txn) {
		term := SealedTerm(sealed)
		count[term]++
		if c.view.Secret(SecretKeyring) != nil && (term < s.GetOldestTerm() || term > s.GetCurrentTerm()) {
			c.failf("a ciphertext is under term %d, the keyring has %d to %d", term, s.GetOldestTerm(), s.GetCurrentTerm())
		}
	}
	for _, t := range s.GetTerms() {
		if t.GetRecords() != count[t.GetTerm()] || t.GetUses() < t.GetRecords() {
			c.failf("term %d counts %d ciphertexts of %d uses, there are %d", t.GetTerm(), t.GetRecords(), t.GetUses(), count[t.GetTerm()])
		}
		delete(count, t.GetTerm())
	}
	for term, n := range count {
		c.failf("%d ciphertexts are under term %d, which nobody counts", n, term)
	}
}
