package api

import (
	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// fundsOf is what the leader saw of the funding account; the zero value, which is
// left out, if nobody has seen it yet.
func fundsOf(f *fsmpb.Funds) wire.Funds {
	if len(f.GetAccount()) == 0 {
		return wire.Funds{}
	}
	return wire.Funds{
		ChainID: signed(f.GetChainId()), Account: hexText(f.GetAccount()),
		BalanceWei: f.GetBalanceWei(), GasPriceWei: f.GetGasPriceWei(), InFlightWei: f.GetInFlightWei(),
		Waiting: signed(f.GetWaiting()), WaitingWei: f.GetWaitingWei(), MissingWei: f.GetMissingWei(),
		Block: signed(f.GetBlock()), At: wallTime(f.GetWallMs()),
	}
}

// paceOf are the leader's bounds on new deposits, and how much of them is used up.
func paceOf(view *fsm.View) wire.Pace {
	f := view.DepositStatus().GetFunds()
	p := wire.Pace{Off: f.GetDepositsOff(), MaxPerDay: int64(f.GetMaxPerDay())}
	for range view.SignedToday() {
		p.SignedToday++
	}
	return p
}

func sparesOf(s fsm.Spares) wire.Spares {
	return wire.Spares{Wanted: s.Wanted, Free: s.Free, OnTheirWay: s.OnTheirWay, Planned: s.Planned}
}
