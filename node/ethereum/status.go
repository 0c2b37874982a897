package ethereum

import (
	"context"
	"fmt"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Code names a reason for which deposits wait. Codes are stable: the API and the
// metrics show them.
type Code string

// Reasons for which deposits wait. All but Stopped end by themselves when what
// they name has ended.
const (
	// Unconfigured: this node was given no execution client.
	Unconfigured Code = "deposits-unconfigured"
	// SeedMissing: the cluster has no seed to derive keys from.
	SeedMissing Code = "seed-missing"
	// Sealed: the leader can not open the seed.
	Sealed Code = "sealed"
	// SeedMismatch: the seed does not derive the keys that the state holds.
	SeedMismatch Code = "seed-mismatch"
	// ChainUnreachable: the execution client does not answer, or with errors.
	ChainUnreachable Code = "chain-unreachable"
	// WrongChainID: the execution client is on another chain than configured.
	WrongChainID Code = "wrong-chain-id"
	// ForeignGenesis: the chain has the right ID and another first block.
	ForeignGenesis Code = "foreign-genesis"
	// ContractMissing: no deposit contract stands at the configured address.
	ContractMissing Code = "contract-missing"
	// PendingTransactions: the funding account is not idle yet, so its nonces can
	// not be taken over.
	PendingTransactions Code = "pending-transactions"
	// InsufficientFunds: the funding account can not pay the next deposit.
	InsufficientFunds Code = "insufficient-funds"
	// FeesTooHigh: the chain asks for a fee beyond all reason.
	FeesTooHigh Code = "fees-too-high"
	// ContractReverts: the deposit contract would refuse, or refused, a deposit.
	ContractReverts Code = "contract-reverts"
	// EventMissing: a transaction succeeded without the DepositEvent that it must emit.
	EventMissing Code = "event-missing"
	// ReceiptsMissing: the chain holds a deposit whose receipt the execution client lacks.
	ReceiptsMissing Code = "receipts-missing"
	// ForeignTransaction: something else than this cluster used the funding account.
	ForeignTransaction Code = "foreign-transaction"
	// ForeignDeposit: somebody else paid for a public key of ours, so we do not.
	ForeignDeposit Code = "foreign-deposit"
	// NonceGap: the chain has forgotten transactions that were final: it was reset.
	NonceGap Code = "nonce-gap"
	// IndexingEvents: earlier deposits are still being read from the chain.
	IndexingEvents Code = "indexing-events"
	// SendRefused: the execution client does not take a signed transaction.
	SendRefused Code = "send-refused"
	// SignerUnavailable: the external signer of the funding account does not answer.
	SignerUnavailable Code = "signer-unavailable"
	// SignerRefused: the external signer answers without the signature that it was asked for.
	SignerRefused Code = "signer-refused"
	// Stopped: the funding account was used by something else, finally. Only an
	// operator ends it, by proposing SetDepositStatus with an empty code.
	Stopped Code = "stopped"
)

// waiting is a reason to wait, in words. As an error it ends a pass early.
type waiting struct {
	code   Code
	detail string
}

func (w *waiting) Error() string { return fmt.Sprintf("%s: %s", w.code, w.detail) }

func waitFor(code Code, format string, args ...any) *waiting {
	return &waiting{code: code, detail: fmt.Sprintf(format, args...)}
}

// detailPause is how long a status keeps its words while its code stays the
// same: amounts and block numbers move all the time.
const detailPause = 30 * time.Second

// report makes the first of the pass's reasons the replicated status, or clears
// it. A status that says so already is left alone.
func (p *pass) report(ctx context.Context) error {
	var now waiting
	if len(p.waits) > 0 {
		now = *p.waits[0]
	}
	p.duty.metrics.waitingFor(p.waits)
	old := p.session.View().DepositStatus()
	if Code(old.GetCode()) == Stopped {
		return nil // an operator's to clear
	}
	sameCode := old.GetCode() == string(now.code)
	if sameCode && (old.GetDetail() == now.detail || p.duty.cfg.Now().Before(p.duty.reported.Add(detailPause))) {
		return nil
	}
	if err := p.setStatus(ctx, now); err != nil {
		return err
	}
	if !sameCode && now.code != "" {
		p.duty.log.Warn("deposits wait", "code", now.code, "reason", now.detail)
	} else if !sameCode {
		p.duty.log.Info("deposits flow again", "after", old.GetCode())
	}
	return nil
}

func (p *pass) setStatus(ctx context.Context, w waiting) error {
	_, err := p.session.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_SetDepositStatus{
		SetDepositStatus: &fsmpb.SetDepositStatus{Code: string(w.code), Detail: w.detail},
	}})
	if err != nil {
		return fmt.Errorf("report that deposits wait for %q: %w", w.code, err)
	}
	p.duty.reported = p.duty.cfg.Now()
	return nil
}

// stop halts all new deposits until an operator resumes.
func (p *pass) stop(ctx context.Context, w waiting) error {
	if stopped(p.session.View()) {
		return nil
	}
	p.duty.log.Error("deposits are stopped until an operator resumes", "reason", w.detail)
	w.code = Stopped
	return p.setStatus(ctx, w)
}

func stopped(view *fsm.View) bool { return Code(view.DepositStatus().GetCode()) == Stopped }
