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
	// ClientsDisagree: several execution clients answer, and not about one chain.
	ClientsDisagree Code = "clients-disagree"
	// ForeignGenesis: the chain has the right ID and another first block.
	ForeignGenesis Code = "foreign-genesis"
	// ContractMissing: no deposit contract stands at the configured address.
	ContractMissing Code = "contract-missing"
	// PendingTransactions: the funding account is not idle yet, so its nonces can
	// not be taken over.
	PendingTransactions Code = "pending-transactions"
	// DepositsOff: the leader was told to make no new deposits.
	DepositsOff Code = "deposits-off"
	// DailyLimit: as many deposits as are allowed were signed within 24 hours.
	DailyLimit Code = "daily-limit"
	// InsufficientFunds: the funding account can not pay the next deposit.
	InsufficientFunds Code = "insufficient-funds"
	// FeeCapReached: the chain asks for a higher fee than the operator allows.
	FeeCapReached Code = "fee-cap-reached"
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
	// PaidByOthers: somebody else paid for keys of ours; deposits of others go on.
	PaidByOthers Code = "paid-by-others"
	// SeedUsedElsewhere: so did somebody who has the key's secret. New deposits wait
	// only until that is final.
	SeedUsedElsewhere Code = "seed-used-elsewhere"
	// ChainReset: the chain has forgotten what was final.
	ChainReset Code = "chain-reset"
	// ChainBehind: the execution client has not come to the block that was read before.
	ChainBehind Code = "chain-behind"
	// IndexingEvents: earlier deposits are still being read from the chain.
	IndexingEvents Code = "indexing-events"
	// SearchingSeed: deposits that were made with this seed before are still looked for.
	SearchingSeed Code = "searching-seed"
	// EventsIncomplete: the execution client does not show every DepositEvent.
	EventsIncomplete Code = "events-incomplete"
	// RestoreUnsettled: a backup was restored, and what was sent from the funding
	// account after it is not known yet.
	RestoreUnsettled Code = "restore-unsettled"
	// RestoreUnconfirmed: a backup was restored, and no operator has confirmed it.
	RestoreUnconfirmed Code = "restore-unconfirmed"
	// EarlierUnknown: there were deposits before the start block, and nobody said
	// that none was for the cluster's seed.
	EarlierUnknown Code = "earlier-deposits-unknown"
	// FlagsDiffer: another node of the cluster was given other terms of deposits.
	FlagsDiffer Code = "flags-differ"
	// IndexFailed: the file with DepositEvents can not be read or written.
	IndexFailed Code = "event-index-failed"
	// SendRefused: the execution client does not take a signed transaction.
	SendRefused Code = "send-refused"
	// SignerUnavailable: the external signer of the funding account does not answer.
	SignerUnavailable Code = "signer-unavailable"
	// SignerRefused: the external signer answers without the signature that it was asked for.
	SignerRefused Code = "signer-refused"
	// Failing: passes end with an error that is none of the other reasons.
	Failing Code = "failing"
	// Stopped: the funding account was used by something else. Only an operator
	// ends it, with the command ResumeDeposits.
	Stopped Code = "stopped"
)

// waiting is a reason to wait, in words. As an error it ends a pass early.
type waiting struct {
	code   Code
	detail string
	// aside says that it is about an account that paid before the present one, so
	// that this may go on.
	aside bool
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
	if w := p.stopped(p.session.View()); w != nil {
		p.waits = append([]*waiting{w}, p.waits...) // an operator's to clear, so the first to be told
	}
	var now waiting
	if len(p.waits) > 0 {
		now = *p.waits[0]
	}
	funds, err := p.countMoney()
	if err != nil {
		return err
	}
	old := p.session.View().DepositStatus()
	sameCode, since := old.GetCode() == string(now.code), p.duty.cfg.Now().Sub(p.duty.reported)
	if sameCode && (old.GetDetail() == now.detail || since < detailPause) && !isNews(old.GetFunds(), funds, since) {
		return nil
	}
	if err := p.setStatus(ctx, now, funds); err != nil {
		return err
	}
	if !sameCode && now.code != "" {
		p.duty.log.Warn("deposits wait", "code", now.code, "reason", now.detail)
	} else if !sameCode {
		p.duty.log.Info("deposits flow again", "after", old.GetCode())
	}
	return nil
}

func (p *pass) setStatus(ctx context.Context, w waiting, funds *fsmpb.Funds) error {
	_, err := p.session.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_SetDepositStatus{
		SetDepositStatus: &fsmpb.SetDepositStatus{Code: string(w.code), Detail: w.detail, Funds: funds},
	}})
	if err != nil {
		return fmt.Errorf("report that deposits wait for %q: %w", w.code, err)
	}
	p.duty.reported = p.duty.cfg.Now()
	return nil
}

// stopped returns why the funding account is stopped until an operator resumes,
// nil if it is not.
func (p *pass) stopped(view *fsm.View) *waiting {
	if !p.duty.cfg.configured() {
		return nil
	}
	if stop := p.account(view).GetStop(); stop != nil {
		return waitFor(Stopped, "%s", stop.GetReason())
	}
	return nil
}
