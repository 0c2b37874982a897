package cli

import (
	"math/big"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
)

// funds tells what the funding account has and what it lacks.
func (g *grid) funds(f wire.Funds) {
	if f.Account == "" {
		return
	}
	g.note("funding account %s has %s ETH (block %d, seen %s); gas costs %s gwei",
		f.Account, inETH(f.BalanceWei), f.Block, f.At.Format(time.RFC3339), decimal(f.GasPriceWei, gweiDigits))
	g.note("deposits in flight take up to %s ETH, those that wait (%d) up to %s ETH", inETH(f.InFlightWei), f.Waiting, inETH(f.WaitingWei))
	if inETH(f.MissingWei) != "0" {
		g.note("missing: %s ETH on account %s", inETH(f.MissingWei), f.Account)
	}
}

// pace tells the bounds on new deposits, where there are any.
func (g *grid) pace(p wire.Pace) {
	if p.Off {
		g.note("deposits are off: requests get keys of the pool only")
	}
	if p.MaxPerDay > 0 {
		g.note("signed within 24 hours: %d of at most %d", p.SignedToday, p.MaxPerDay)
	}
}

// spares tells what is kept in stock, where something is to be.
func (g *grid) spares(s wire.Spares) {
	if s.Wanted > 0 {
		g.note("spare keys: %d wanted, %d free, %d on their way, %d planned", s.Wanted, s.Free, s.OnTheirWay, s.Planned)
	}
}

// Digits of wei behind the point.
const ethDigits, gweiDigits = 18, 9

func inETH(wei string) string { return decimal(wei, ethDigits) }

// decimal writes wei with so many digits behind the point, final zeros left out.
// What is no number is shown as it came.
func decimal(wei string, behind int) string {
	n, ok := new(big.Int).SetString(wei, 10)
	if !ok {
		return wei
	}
	digits := new(big.Int).Abs(n).String()
	digits = strings.Repeat("0", max(0, behind+1-len(digits))) + digits
	whole, rest := digits[:len(digits)-behind], strings.TrimRight(digits[len(digits)-behind:], "0")
	if rest != "" {
		whole += "." + rest
	}
	if n.Sign() < 0 {
		return "-" + whole
	}
	return whole
}
