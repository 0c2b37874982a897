package fsm

import (
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// setDepositStatus keeps why deposits wait, with the time since it is so, and
// what the leader saw of the money.
func (w *write) setDepositStatus(c *fsmpb.SetDepositStatus) Result {
	if no := checkFunds(c.GetFunds()); no != nil {
		return Result{Refusal: no}
	}
	old := w.depositStatus()
	s := &fsmpb.DepositStatus{
		Code: c.GetCode(), Detail: c.GetDetail(), SinceWallMs: w.cmd.GetWallMs(),
		Funds: old.GetFunds(), SpareKeys: old.GetSpareKeys(),
	}
	if f := c.GetFunds(); f != nil {
		s.Funds = proto.CloneOf(f)
		if s.Funds.WallMs = old.GetFunds().GetWallMs(); !proto.Equal(s.GetFunds(), old.GetFunds()) {
			s.Funds.WallMs = w.cmd.GetWallMs()
		}
	}
	if old.GetCode() == s.GetCode() {
		s.SinceWallMs = old.GetSinceWallMs()
		if old != nil && old.GetDetail() == s.GetDetail() && proto.Equal(s.GetFunds(), old.GetFunds()) {
			return Result{} // and nobody who watches is woken
		}
	}
	mustInsert(w.txn, tableStatus, s)
	return Result{}
}

func (w *write) depositStatus() *fsmpb.DepositStatus {
	return first[*fsmpb.DepositStatus](w.txn, tableStatus, []byte{0})
}

// maxWeiDigits is how long an amount in wei may be: 256 bits have 78 digits.
const maxWeiDigits = 78

// checkFunds refuses what is no sum of money.
func checkFunds(f *fsmpb.Funds) *Refusal {
	if n := len(f.GetAccount()); n != 0 && n != 20 {
		return refuse(Invalid, "an account with an address of %d bytes", n)
	}
	for _, wei := range []string{f.GetBalanceWei(), f.GetGasPriceWei(), f.GetInFlightWei(), f.GetWaitingWei(), f.GetMissingWei()} {
		if len(wei) > maxWeiDigits {
			return refuse(Invalid, "an amount of %d digits", len(wei))
		}
		for _, r := range wei {
			if r < '0' || r > '9' {
				return refuse(Invalid, "the amount %q is no number", wei)
			}
		}
	}
	return nil
}
