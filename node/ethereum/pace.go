package ethereum

import (
	"time"

	"github.com/keysteward/keysteward/fsm"
)

// off says that nothing new is paid, if anything waits for it.
func (p *pass) off(view *fsm.View) *waiting {
	if !p.duty.cfg.Off || !hasWaiting(view) {
		return nil
	}
	return waitFor(DepositsOff, "deposits are off on the leader (--deposits off): what is planned waits, and requests get keys of the pool only")
}

// today returns how many more deposits may be signed within 24 hours of cluster
// time, and what the next one waits for when these are signed. The state keeps
// when each was signed, so this holds over changes of the leader and restarts.
func (p *pass) today(view *fsm.View) (left int, then *waiting) {
	limit := p.duty.cfg.MaxPerDay
	if limit == 0 {
		return MaxInFlight, nil
	}
	var times []uint64
	for d := range view.SignedToday() {
		times = append(times, d.GetSignedAtMs())
	}
	// The next goes when so many of the oldest are a day old that one has room.
	now := view.Meta().GetClusterTimeMs()
	first := now
	if len(times) > 0 {
		first = times[max(0, len(times)-limit)]
	}
	at := p.duty.cfg.Now().Add(time.Duration(first+fsm.DayMS-now) * time.Millisecond) //nolint:gosec // at most a day
	return max(0, limit-len(times)), waitFor(DailyLimit,
		"as many deposits were signed in the last 24 hours as --max-deposits-per-day %d allows; the next may go at about %s, if the cluster runs until then",
		limit, at.Add(time.Minute-1).UTC().Truncate(time.Minute).Format("2006-01-02 15:04 UTC"))
}
