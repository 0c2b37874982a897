package ethereum

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/params"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
	"github.com/keysteward/keysteward/node/failpoint"
)

// replaceStuck gives every deposit that waits too long for a block another
// transaction at the nonce that it has, with higher fees, and has it logged. The
// bytes from before stay in the state and are watched: whichever lands first is
// the deposit, and the chain runs no other with this nonce.
func (p *pass) replaceStuck(ctx context.Context) error {
	reserved, err := p.reserved(p.view)
	if err != nil {
		return err
	}
	for _, d := range p.stuck() {
		last := d.GetAttempts()[len(d.GetAttempts())-1]
		bumped, w := p.bump(d)
		if w != nil {
			p.wait(w)
			continue
		}
		more := new(big.Int).Sub(bumped.capWei, new(big.Int).SetUint64(last.GetFeeCapWei()))
		more.Mul(more, big.NewInt(gasLimit))
		if more.Add(more, reserved).Cmp(p.world.balance) > 0 {
			p.wait(waitFor(InsufficientFunds, "the funding account %s has %s ETH; with higher fees for the deposit for 0x%x those in flight would take %s ETH",
				p.duty.cfg.Funding.Address(), formatETH(p.world.balance), d.GetPubkey(), formatETH(more)))
			continue
		}
		reserved = more
		err := p.replaceOne(ctx, d, bumped)
		if w := (*waiting)(nil); errors.As(err, &w) {
			p.wait(w) // the signer does not sign now; what is signed is sent all the same
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stuck lists our deposits whose newest transaction has waited for too many
// blocks, and either is next in line or offers less than any block takes now.
func (p *pass) stuck() []*fsmpb.Deposit {
	var list []*fsmpb.Deposit
	head := uint64(p.world.head.Number)
	floor := new(big.Int).Add(p.world.head.BaseFee.ToInt(), big.NewInt(leastTip))
	view := p.session.View()
	for _, state := range []fsmpb.DepositState{fsmpb.DepositState_DEPOSIT_STATE_SIGNED, fsmpb.DepositState_DEPOSIT_STATE_SENT} {
		for d := range view.DepositsIn(state) {
			last := d.GetAttempts()[len(d.GetAttempts())-1]
			if !p.ours(d) || last.GetNonce() < p.world.latest || head < last.GetHeadBlock()+p.duty.cfg.ReplaceAfter {
				continue
			}
			if last.GetNonce() == p.world.latest || new(big.Int).SetUint64(last.GetFeeCapWei()).Cmp(floor) < 0 {
				list = append(list, d)
			}
		}
	}
	slices.SortFunc(list, func(a, b *fsmpb.Deposit) int {
		return cmp.Compare(a.GetAttempts()[0].GetNonce(), b.GetAttempts()[0].GetNonce())
	})
	return list
}

// bump returns the fees of the next attempt: what the chain asks for now, and at
// least so much more than before that execution clients take it in the place of
// the old one. Beyond the operator's cap there is none.
func (p *pass) bump(d *fsmpb.Deposit) (fees, *waiting) {
	last := d.GetAttempts()[len(d.GetAttempts())-1]
	leastCap, leastTip := raised(last.GetFeeCapWei()), raised(last.GetTipWei())
	limit := new(big.Int).SetUint64(p.duty.cfg.MaxFeeWei)
	tip := bigger(leastTip, p.world.tip)
	capWei := new(big.Int).Lsh(p.world.head.BaseFee.ToInt(), 1)
	capWei = smaller(bigger(capWei.Add(capWei, tip), leastCap), limit)
	tip = smaller(tip, capWei)
	if capWei.Cmp(leastCap) < 0 || tip.Cmp(leastTip) < 0 || len(d.GetAttempts()) >= fsm.MaxAttempts {
		return fees{}, waitFor(FeeCapReached, "the deposit for 0x%x (nonce %d) waits for a block since block %d and offers %s gwei per gas; a higher offer would be more than --max-fee-gwei %s",
			d.GetPubkey(), last.GetNonce(), d.GetAttempts()[0].GetHeadBlock(), formatGwei(new(big.Int).SetUint64(last.GetFeeCapWei())), formatGwei(limit))
	}
	return fees{capWei: capWei, tipWei: tip}, nil
}

// raised is an eighth more, rounded up. Clients ask for a tenth or an eighth.
func raised(wei uint64) *big.Int {
	n := new(big.Int).SetUint64(wei)
	eighth := new(big.Int).Add(n, big.NewInt(7))
	return n.Add(n, eighth.Rsh(eighth, 3))
}

// replaceOne signs the deposit's call again with other fees and has it logged.
func (p *pass) replaceOne(ctx context.Context, d *fsmpb.Deposit, f fees) error {
	last := d.GetAttempts()[len(d.GetAttempts())-1]
	var tx types.Transaction
	if err := tx.UnmarshalBinary(last.GetRaw()); err != nil {
		return fmt.Errorf("the logged transaction of the deposit for 0x%x: %w", d.GetPubkey(), err)
	}
	if tx.To() == nil || *tx.To() != common.Address(p.duty.cfg.Network.DepositContract) || tx.Nonce() != last.GetNonce() {
		return fmt.Errorf("the logged transaction of the deposit for 0x%x: %w", d.GetPubkey(), errOtherCall)
	}
	pay := payment{data: validator.DepositData{PublicKey: validator.PublicKey(d.GetPubkey())}, input: tx.Data(), wei: tx.Value()}
	attempt, err := p.attempt(ctx, pay, tx.Nonce(), f)
	if err != nil {
		return err
	}
	failpoint.Reach(PointReplacementSigned)
	_, err = p.session.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_ReplaceDeposit{
		ReplaceDeposit: &fsmpb.ReplaceDeposit{Pubkey: d.GetPubkey(), Attempt: attempt},
	}})
	if err != nil {
		return fmt.Errorf("log a replacement of the deposit for 0x%x: %w", d.GetPubkey(), err)
	}
	failpoint.Reach(PointReplacementLogged)
	p.duty.log.Info("deposit replaced with higher fees", "pubkey", fmt.Sprintf("0x%x", d.GetPubkey()), "nonce", tx.Nonce(),
		"fee_cap_gwei", formatGwei(f.capWei), "tip_gwei", formatGwei(f.tipWei), "attempts", len(d.GetAttempts())+1)
	return nil
}

var errOtherCall = errors.New("it is no call of the configured deposit contract")

func bigger(a, b *big.Int) *big.Int {
	if a.Cmp(b) >= 0 {
		return a
	}
	return b
}

func smaller(a, b *big.Int) *big.Int {
	if a.Cmp(b) <= 0 {
		return a
	}
	return b
}

// formatGwei writes wei as gwei with every digit that is not a final zero.
func formatGwei(wei *big.Int) string {
	return formatETH(new(big.Int).Mul(wei, big.NewInt(params.GWei)))
}
