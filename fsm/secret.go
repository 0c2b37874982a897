package fsm

import (
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Names of the secrets that the state keeps as ciphertext.
const (
	SecretKeyring = "keyring"
	SecretSeed    = "seed"
)

func (w *write) secret(name string) *fsmpb.Secret {
	return first[*fsmpb.Secret](w.txn, tableSecrets, []byte(name))
}

// putSecret stores a ciphertext under a data key, and keeps the count by term.
func (w *write) putSecret(s *fsmpb.Secret) {
	w.countSealed(w.secret(s.GetName()).GetSealed(), s.GetSealed())
	mustInsert(w.txn, tableSecrets, s)
}

// installKeyring stores the first keyring; every other is made from it.
func (w *write) installKeyring(c *fsmpb.InstallKeyring) Result {
	if n := len(c.GetSealed()); n == 0 || n > maxKeyring {
		return Result{Refusal: refuse(Invalid, "a keyring of %d bytes", n)}
	}
	if no := w.checkHistory(StaleKeyring); no != nil {
		return Result{Refusal: no}
	}
	if w.secret(SecretKeyring) != nil {
		return Result{Refusal: refuse(KeyringExists, "the cluster has a keyring")}
	}
	for range everySealed(w.txn) {
		return Result{Refusal: refuse(KeyringExists, "something is sealed that this keyring could not open")}
	}
	mustInsert(w.txn, tableSecrets, &fsmpb.Secret{Name: SecretKeyring, Sealed: c.GetSealed()})
	w.beginTerm(firstTerm)
	w.meta.Seal.OldestTerm = firstTerm
	w.record("keyring.install", SecretKeyring, "")
	return Result{}
}

// installSeed stores the seed. The same fingerprint again changes nothing, so a
// repeat is safe; another one is refused, because keys were derived from the first.
func (w *write) installSeed(c *fsmpb.InstallSeed) Result {
	if len(c.GetSealed()) == 0 || c.GetFingerprint() == "" {
		return Result{Refusal: refuse(Invalid, "the seed or its fingerprint is empty")}
	}
	if old := w.secret(SecretSeed); old != nil {
		if old.GetFingerprint() == c.GetFingerprint() {
			return Result{}
		}
		return Result{Refusal: refuse(SeedExists, "the cluster has the seed of %s", old.GetFingerprint())}
	}
	if r := w.checkSealed(c.GetSealed()); r != nil {
		return Result{Refusal: r}
	}
	w.putSecret(&fsmpb.Secret{
		Name: SecretSeed, Sealed: c.GetSealed(), Fingerprint: c.GetFingerprint(),
	})
	w.record("seed.install", SecretSeed, c.GetFingerprint())
	return Result{}
}
