package api

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// importKeys opens keys that were made elsewhere and has them sealed at rest, all
// of them or, if one is not what it says, none.
func (s *Server) importKeys(c *call, body wire.SealedKeys) (answer, error) {
	if _, isSealed := s.vault.Sealed(); isSealed {
		return answer{}, node.ErrSealed
	}
	if body.Recipient.Kem != s.seedRecipient.Kem || !bytes.Equal(body.Recipient.Key, s.seedRecipient.Key) {
		return answer{}, newProblem(staleRecipient, "the keys are sealed to another node's key, or to this one's before it started again; read /v1/seed again")
	}
	plaintext, err := body.Sealed.Open(s.seedKey, wire.ImportInfo(s.node.View().Meta().GetClusterId()))
	if err != nil {
		return answer{}, badField("sealed", "does not open: it was made for another cluster or altered")
	}
	defer clear(plaintext)
	secrets, pubkeys, err := readImport(plaintext)
	defer func() {
		for _, secret := range secrets {
			secret.Zero()
		}
	}()
	if err != nil {
		return answer{}, err
	}
	fresh, err := s.vault.ImportKeys(c.ctx(), secrets, c.caller.proto(), requestID(c.echo))
	if err != nil {
		return answer{}, err //nolint:wrapcheck // problem.go decides what it is
	}
	if len(fresh) != len(pubkeys) {
		return answer{}, fmt.Errorf("import of %d keys was answered about %d", len(pubkeys), len(fresh))
	}
	list := wire.ImportedKeys{Keys: make([]wire.ImportedKey, len(pubkeys))}
	for i, public := range pubkeys {
		list.Keys[i] = wire.ImportedKey{Pubkey: public.String(), Result: wire.ImportResultKnown}
		if fresh[i] {
			list.Keys[i].Result = wire.ImportResultImported
		}
	}
	return ok(list), nil
}

// readImport checks every secret against the public key beside it. What it read
// so far is the caller's to zero, also beside an error.
func readImport(plaintext []byte) (secrets []*validator.SecretKey, pubkeys []validator.PublicKey, err error) {
	n, records, err := wire.ImportRecords(plaintext)
	if err != nil {
		return nil, nil, badField("sealed", "%v", err)
	}
	seen := make(map[validator.PublicKey]bool, n)
	for named, raw := range records {
		public := validator.PublicKey(named)
		secret, err := validator.SecretKeyFromBytes(raw)
		if err != nil {
			return secrets, nil, badField("sealed", "the secret of %s: %v", public, err)
		}
		secrets = append(secrets, secret)
		if derived := secret.PublicKey(); derived != public {
			return secrets, nil, badField("sealed", "the secret of %s is that of %s", public, derived)
		}
		if seen[public] {
			return secrets, nil, badField("sealed", "the key %s is there twice", public)
		}
		seen[public] = true
		pubkeys = append(pubkeys, public)
	}
	return secrets, pubkeys, nil
}

// confirmStopped takes an operator's word that nobody elsewhere signs with an
// imported key any more.
func (s *Server) confirmStopped(c *call, body wire.StoppedKey) (answer, error) {
	pubkey, err := c.pubkey()
	if err != nil {
		return answer{}, err
	}
	if body.Fence < 1 {
		return answer{}, badField("fence", "%d is not the fence of an imported key, a number from 1", body.Fence)
	}
	cmd := c.command()
	cmd.Body = &fsmpb.Command_ConfirmStopped{ConfirmStopped: &fsmpb.ConfirmStopped{
		Pubkey: pubkey, Fence: uint64(body.Fence),
		Proof:  &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: c.caller.Name},
		WaitMs: uint64(s.cfg.RestAfterProof.Milliseconds()), //nolint:gosec // not negative
	}}
	if _, err := s.propose(c.ctx(), cmd); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// pathOf is the key's EIP-2334 path; an imported key has none.
func pathOf(k *fsmpb.Key) string {
	if k.GetImported() {
		return ""
	}
	return validator.SigningPath(k.GetIndex())
}

// showImported adds what only a key that came with its stake has: one that was
// imported, or adopted.
func showImported(w *wire.Key, k *fsmpb.Key) {
	if fsm.RestsAlone(k) && k.GetRestored() {
		if w.RestsUntil = "until the restored backup is confirmed: keysteward restore status"; k.GetProof() != nil {
			w.RestsUntil = "until the wait after the restored backup was confirmed is over"
		}
	}
	if !fsm.PaidElsewhere(k) {
		return
	}
	w.Imported = k.GetImported()
	if s := k.GetAdopted(); s != nil {
		w.Adopted = wire.Stake{
			TxHash: hexText(s.GetTxHash()), BlockNumber: signed(s.GetBlockNumber()),
			WithdrawalCredentials: hexText(s.GetCredentials()), AmountGwei: signed(s.GetAmountGwei()),
		}
	}
	switch {
	case !fsm.RestsSinceImport(k):
	case k.GetProof() == nil:
		w.RestsUntil = "until an operator confirms that no validator elsewhere has it: keysteward keys confirm-stopped"
	default:
		w.RestsUntil = fmt.Sprintf("until the wait after the word of %s is over", k.GetProof().GetBy())
	}
}
