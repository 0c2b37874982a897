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

// installKeyring stores the first keyring; there is only ever one.
func (w *write) installKeyring(c *fsmpb.InstallKeyring) Result {
	if len(c.GetSealed()) == 0 {
		return Result{Refusal: refuse(Invalid, "the keyring is empty")}
	}
	if w.secret(SecretKeyring) != nil {
		return Result{Refusal: refuse(KeyringExists, "the cluster has a keyring")}
	}
	mustInsert(w.txn, tableSecrets, &fsmpb.Secret{Name: SecretKeyring, Sealed: c.GetSealed()})
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
	mustInsert(w.txn, tableSecrets, &fsmpb.Secret{
		Name: SecretSeed, Sealed: c.GetSealed(), Fingerprint: c.GetFingerprint(),
	})
	w.record("seed.install", SecretSeed, c.GetFingerprint())
	return Result{}
}
