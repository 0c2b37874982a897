package fsm

import (
	"fmt"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// PubkeyLength is the length in bytes of a compressed BLS12-381 public key.
const PubkeyLength = 48

// generateKeys adds the keys of the seed's next indexes. The command names the
// first index, so a late repeat is refused instead of making other keys. Where a
// key was imported before, its index is passed over: the key is not ours to pay for.
func (w *write) generateKeys(c *fsmpb.GenerateKeys) Result {
	if w.secret(SecretSeed) == nil {
		return Result{Refusal: refuse(SeedMissing, "the cluster has no seed")}
	}
	if c.GetFirstIndex() != w.meta.GetNextIndex() {
		return Result{Refusal: refuse(StaleIndex, "keys from index %d: the next index is %d", c.GetFirstIndex(), w.meta.GetNextIndex())}
	}
	seen := make(map[string]bool, len(c.GetPubkeys()))
	for i, pubkey := range c.GetPubkeys() {
		if len(pubkey) != PubkeyLength {
			return Result{Refusal: refuse(Invalid, "public key %d has %d bytes", i, len(pubkey))}
		}
		if known := w.key(pubkey); seen[string(pubkey)] || known != nil && !known.GetImported() {
			return Result{Refusal: refuse(StaleIndex, "public key %x is known", pubkey)}
		}
		seen[string(pubkey)] = true
	}
	for _, pubkey := range c.GetPubkeys() {
		if w.key(pubkey) != nil {
			w.record("key.skip", hexName(pubkey), fmt.Sprintf("imported; it is index %d of the seed", w.meta.GetNextIndex()))
			w.meta.NextIndex++
			continue
		}
		w.meta.NextKey++
		w.putKey(&fsmpb.Key{
			Pubkey: pubkey, State: fsmpb.KeyState_KEY_STATE_GENERATED,
			Ordinal: w.meta.GetNextKey(), Index: w.meta.GetNextIndex(),
		})
		w.meta.NextIndex++
	}
	if n := len(c.GetPubkeys()); n > 0 {
		w.note("keys.generate", SecretSeed, "%s from index %d", plural(n, "key"), c.GetFirstIndex())
	}
	w.settle()
	return Result{}
}

// planDeposit says that a key's stake is to be paid. It assigns nothing else.
func (w *write) planDeposit(pubkey []byte) {
	w.meta.NextDeposit++
	w.putDeposit(&fsmpb.Deposit{
		Pubkey: pubkey, Seq: w.meta.GetNextDeposit(), State: fsmpb.DepositState_DEPOSIT_STATE_PLANNED,
	})
}

func isPlanned(d *fsmpb.Deposit) bool {
	return d.GetState() == fsmpb.DepositState_DEPOSIT_STATE_PLANNED
}

// isUnpaid reports whether nothing was ever signed for this deposit. One that
// was lost before is kept even when nobody needs it: it is part of the account.
func isUnpaid(d *fsmpb.Deposit) bool { return isPlanned(d) && len(d.GetLosses()) == 0 }

// isWanted reports whether a deposit is planned and somebody waits for it: a
// request, or the pool, for which all are that were never signed and that no
// request reserves. One that was lost is for a request only.
func (w *write) isWanted(d *fsmpb.Deposit) bool {
	return isPlanned(d) && !w.key(d.GetPubkey()).GetRestored() && (isUnpaid(d) || w.key(d.GetPubkey()).GetReservedBy() != "")
}

// firstUnpaid returns the deposit next in order that a request waits for and that
// can still be given up for a free key, nil if there is none.
func (w *write) firstUnpaid() *fsmpb.Deposit {
	for d := range rows[*fsmpb.Deposit](w.txn, tableDeposits, indexState, stateKey(fsmpb.DepositState_DEPOSIT_STATE_PLANNED)...) {
		if isUnpaid(d) && w.key(d.GetPubkey()).GetReservedBy() != "" {
			return d
		}
	}
	return nil
}

const (
	// maxNonce leaves so many nonces to count on that none can ever come round
	// again (EIP-2681 ends them at 2^64-2).
	maxNonce = 1<<63 - 1
	// maxRaw is the longest transaction, in bytes, that execution clients pass on.
	maxRaw = 128 << 10
)

// openAccount begins the nonces of a funding account; the same again changes
// nothing. All accounts of a chain ID are on the chain that was recorded first.
func (w *write) openAccount(c *fsmpb.OpenAccount) Result {
	a := c.GetAccount()
	if a.GetChainId() == 0 || len(a.GetAddress()) != 20 || len(a.GetGenesisHash()) != 32 || a.GetNextNonce() > maxNonce {
		return Result{Refusal: refuse(Invalid, "an account needs a chain ID, a genesis hash, an address and a nonce below 2^63")}
	}
	if no := w.checkGenesis(a.GetChainId(), a.GetGenesisHash()); no != nil {
		return Result{Refusal: no}
	}
	if w.account(a.GetChainId(), a.GetAddress()) == nil {
		mustInsert(w.txn, tableAccounts, &fsmpb.Account{
			ChainId: a.GetChainId(), GenesisHash: a.GetGenesisHash(), Address: a.GetAddress(),
			FirstNonce: a.GetNextNonce(), NextNonce: a.GetNextNonce(), Unsettled: isRestoreOpen(w.meta),
		})
		w.record("account.open", hexName(a.GetAddress()), "")
	}
	return Result{}
}

func (w *write) account(chainID uint64, address []byte) *fsmpb.Account {
	return first[*fsmpb.Account](w.txn, tableAccounts, accountKey(chainID, address))
}

// signDeposits logs signed transactions, all or none: every deposit must be
// planned and the nonces must be the account's next ones, in order. This is the
// only way in which a nonce is used up.
func (w *write) signDeposits(c *fsmpb.SignDeposits) Result {
	account := w.account(c.GetChainId(), c.GetAccount())
	if account == nil {
		return Result{Refusal: refuse(NotFound, "account %x on chain %d is not open", c.GetAccount(), c.GetChainId())}
	}
	if s := account.GetStop(); s != nil {
		return Result{Refusal: refuse(AccountStopped, "account %x on chain %d is stopped: %s", c.GetAccount(), c.GetChainId(), s.GetReason())}
	}
	if account.GetUnsettled() {
		return Result{Refusal: refuse(RestoreUnconfirmed, "what account %x on chain %d paid for after the backup that was restored is not known", c.GetAccount(), c.GetChainId())}
	}
	seen := make(map[string]bool, len(c.GetDeposits()))
	for i, s := range c.GetDeposits() {
		if want := account.GetNextNonce() + uint64(i); s.GetAttempt().GetNonce() != want {
			return Result{Refusal: refuse(StaleNonce, "nonce %d: the next one is %d", s.GetAttempt().GetNonce(), want)}
		}
		d := w.deposit(s.GetPubkey())
		if d == nil || !w.isWanted(d) || seen[string(s.GetPubkey())] {
			return Result{Refusal: refuse(NotPlanned, "the deposit for %x is not planned", s.GetPubkey())}
		}
		if no := checkSigned(s); no != nil {
			return Result{Refusal: no}
		}
		seen[string(s.GetPubkey())] = true
	}
	for _, s := range c.GetDeposits() {
		d := copyDeposit(w.deposit(s.GetPubkey()))
		d.State = fsmpb.DepositState_DEPOSIT_STATE_SIGNED
		d.AmountGwei, d.Credentials, d.Signature = s.GetAmountGwei(), s.GetCredentials(), s.GetSignature()
		d.ChainId, d.Account = c.GetChainId(), c.GetAccount()
		d.Attempts, d.SignedAtMs = []*fsmpb.Attempt{s.GetAttempt()}, w.meta.GetClusterTimeMs()
		w.putDeposit(d)
		w.record("deposit.sign", hexName(d.GetPubkey()), hexName(s.GetAttempt().GetTxHash()))
	}
	w.moveNonce(account, account.GetNextNonce()+uint64(len(c.GetDeposits())))
	w.settle() // a spare key that was signed first takes the place of one that a request waits for
	return Result{}
}

// checkSigned refuses parts that no deposit has (deposit contract: withdrawal
// credentials of 32 bytes, a BLS signature of 96).
func checkSigned(s *fsmpb.SignedDeposit) *Refusal {
	a := s.GetAttempt()
	switch n := len(a.GetRaw()); {
	case n == 0 || n > maxRaw || len(a.GetTxHash()) != 32:
		return refuse(Invalid, "the transaction for %x has %d bytes, its hash %d", s.GetPubkey(), n, len(a.GetTxHash()))
	case len(s.GetCredentials()) != 32 || len(s.GetSignature()) != 96:
		return refuse(Invalid, "the deposit for %x has withdrawal credentials of %d bytes and a signature of %d", s.GetPubkey(), len(s.GetCredentials()), len(s.GetSignature()))
	}
	return nil
}
