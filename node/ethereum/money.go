package ethereum

import (
	"math/big"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// gasPause is how long the replicated summary keeps its price of gas while
// nothing else in it changes: the price moves with every block.
const gasPause = 10 * time.Minute

// price is the most that one deposit takes from the balance, in wei: its stake,
// and all of its gas at the fee cap.
func (p *pass) price(f fees) *big.Int {
	wei := new(big.Int).Mul(f.capWei, big.NewInt(gasLimit))
	return wei.Add(wei, gweiToWei(p.duty.cfg.AmountGwei))
}

// countMoney makes the summary of what is there and what is needed. It is nil
// when the chain was not seen in this pass, unless there is no chain to see.
func (p *pass) countMoney() (*fsmpb.Funds, error) {
	cfg := p.duty.cfg
	funds := &fsmpb.Funds{MaxPerDay: uint32(cfg.MaxPerDay), DepositsOff: cfg.Off} //nolint:gosec // checked against MaxPerDay's bounds
	if !cfg.configured() {
		return funds, nil
	}
	if p.world.balance == nil {
		return nil, nil //nolint:nilnil // documented above
	}
	view := p.session.View() // what was just signed is in flight, and waits no more
	reserved, err := p.reserved(view)
	if err != nil {
		return nil, err
	}
	waiting := 0
	for range view.ToSign() {
		waiting++
	}
	cost := p.price(feesOf(p.world, cfg.MaxFeeWei))
	cost.Mul(cost, big.NewInt(int64(waiting)))
	missing := new(big.Int).Add(cost, reserved)
	missing = bigger(missing.Sub(missing, p.world.balance), new(big.Int))
	address := cfg.Funding.Address()
	funds.ChainId, funds.Account, funds.Block = cfg.Network.ChainID, address[:], uint64(p.world.head.Number)
	funds.BalanceWei, funds.GasPriceWei = p.world.balance.String(), p.world.gasPrice().String()
	funds.InFlightWei, funds.MissingWei = reserved.String(), missing.String()
	funds.Waiting, funds.WaitingWei = uint64(waiting), cost.String()
	p.duty.metrics.money(address.Hex(), p.world.gasPrice(), reserved, cost, missing)
	return funds, nil
}

// gasPrice is what a unit of gas costs in the next block, about.
func (w world) gasPrice() *big.Int { return new(big.Int).Add(w.head.BaseFee.ToInt(), w.tip) }

// countPause is how long the summary keeps a wrong number of waiting deposits.
const countPause = 2 * time.Second

// isNews reports whether the summary is worth a log entry so long after the one
// before. The bounds always are; amounts when some time has passed; the price of
// gas, and what follows from it alone, when much has.
func isNews(old, now *fsmpb.Funds, since time.Duration) bool {
	if now == nil {
		return false
	}
	was, is := proto.CloneOf(old), proto.CloneOf(now)
	if was == nil {
		return true
	}
	for _, f := range []*fsmpb.Funds{was, is} {
		f.Block, f.WallMs = 0, 0
	}
	if proto.Equal(was, is) {
		return false
	}
	if was.GetMaxPerDay() != is.GetMaxPerDay() || was.GetDepositsOff() != is.GetDepositsOff() || since >= gasPause ||
		was.GetWaiting() != is.GetWaiting() && since >= countPause {
		return true
	}
	for _, f := range []*fsmpb.Funds{was, is} {
		f.GasPriceWei, f.WaitingWei, f.MissingWei = "", "", ""
	}
	return since >= detailPause && !proto.Equal(was, is)
}

// hasWaiting reports whether deposits or requests wait for keys that are to be paid.
func hasWaiting(view *fsm.View) bool {
	for range view.ToSign() {
		return true
	}
	return view.Shortfall() > 0
}
