package fsm

import "fmt"

// Code names a reason for refusing a command; it is stable and part of the API's problems.
type Code string

// Reasons for which the state machine refuses a command.
const (
	// StaleSession: the command was decided in a leadership that has ended. Nothing was changed.
	StaleSession Code = "stale-session"
	// StaleFence: the allocation changed since the caller looked at it.
	StaleFence Code = "stale-fence"
	// NotFound: the object of the command does not exist.
	NotFound Code = "not-found"
	// KeyInUse: the key is held, rests or has a deposit on its way.
	KeyInUse Code = "key-in-use"
	// Invalid: a field of the command is out of its bounds.
	Invalid Code = "invalid"
	// SeedExists: the cluster has another seed.
	SeedExists Code = "seed-exists"
	// SeedMissing: the cluster has no seed yet.
	SeedMissing Code = "seed-missing"
	// KeyringExists: the cluster has a keyring already.
	KeyringExists Code = "keyring-exists"
	// StaleKeyring: the keyring changed since the command was made.
	StaleKeyring Code = "stale-keyring"
	// StaleSeal: a ciphertext is under a data key that is not kept, or not known.
	StaleSeal Code = "stale-seal"
	// StaleIndex: other keys were generated for these indexes, or the keys are known.
	StaleIndex Code = "stale-index"
	// StaleNonce: the nonce is not the account's next one.
	StaleNonce Code = "stale-nonce"
	// NotPlanned: the deposit is not waiting to be signed.
	NotPlanned Code = "not-planned"
	// ForeignChain: the chain ID is recorded with another genesis.
	ForeignChain Code = "foreign-chain"
	// AccountStopped: something else uses the account and no operator resumed.
	AccountStopped Code = "account-stopped"
	// PoolShort: the request is for the pool only, which has too few free keys.
	PoolShort Code = "pool-short"
	// TokenExists: the cluster has this token for another caller, or one with the same ID.
	TokenExists Code = "token-exists"
	// TooManyTokens: as many as are kept; some have to be revoked first.
	TooManyTokens Code = "too-many-tokens"
	// Exists: an object of these names is there already.
	Exists Code = "exists"
	// InUse: something else rests on the object.
	InUse Code = "in-use"
	// TooMany: as many as are kept.
	TooMany Code = "too-many"
	// WrongState: the logical cloud is in a state from which this can not be done.
	WrongState Code = "wrong-state"
	// Incomplete: the logical cloud lacks what it needs to be instantiated.
	Incomplete Code = "incomplete"
	// StaleGeneration: it is about another generation, round or request of a
	// logical cloud's certificate than the present one.
	StaleGeneration Code = "stale-generation"
	// RestoreUnconfirmed: a backup was restored, and this waits until an operator has
	// confirmed that, or until what came after the backup is known.
	RestoreUnconfirmed Code = "restore-unconfirmed"
	// RestoreIncomplete: something has to be found out before a restore can be confirmed.
	RestoreIncomplete Code = "restore-incomplete"
	// DamagedBackup: what was brought is not a backup, or not the one that was meant.
	DamagedBackup Code = "damaged-backup"
	// NotPending: the deposit is not signed and waiting for a block.
	NotPending Code = "not-pending"
)

// Refusal is the state machine's no: deterministic, and nothing was changed.
type Refusal struct {
	Code   Code
	Detail string
}

// Error implements error.
func (r *Refusal) Error() string { return fmt.Sprintf("%s: %s", r.Code, r.Detail) }

// Is makes errors.Is match refusals by code alone.
func (r *Refusal) Is(target error) bool {
	t, ok := target.(*Refusal)
	return ok && t.Code == r.Code && t.Detail == ""
}

// Refused is the target for errors.Is that matches every refusal with the code.
func Refused(code Code) error { return &Refusal{Code: code} }

func refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}
