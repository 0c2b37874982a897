package lease

import (
	"context"
	"time"
)

const (
	guardEvery = 50 * time.Millisecond // how often the deadline is looked at
	saidEvery  = time.Minute
)

// guard ends the others whenever nothing may sign, again and again: a container may be
// started anew.
func (k *Keeper) guard(ctx context.Context) error {
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	var asked, said time.Duration
	for {
		state, left, detail := k.Status()
		now := k.cfg.Clock()
		switch {
		case !state.MaySign():
			say := said == 0 || now-said > saidEvery
			if say {
				k.cfg.Logger.Error("nothing of this pod may sign: what runs in it is killed", "state", state, "reason", detail)
				said = now
			}
			k.endOthers(Process.Kill, say)
		case state == Held && left <= k.cfg.Grace:
			if asked == 0 || now-asked > k.cfg.Grace {
				k.cfg.Logger.Warn("the lease is about to end: what runs in this pod is asked to end", "left", left, "reason", detail)
				k.endOthers(Process.Terminate, true)
				asked = now
			}
		default:
			asked, said = 0, 0
		}
		select {
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // the caller's own
		case <-tick.C:
		}
	}
}

func (k *Keeper) endOthers(end func(Process) error, say bool) {
	others, err := k.cfg.Others()
	if err != nil && say {
		k.cfg.Logger.Error("the processes of this pod are not to be seen", "error", err)
	}
	for _, p := range others {
		if err := end(p); err != nil && say {
			k.cfg.Logger.Error("a process of this pod can not be ended: run it as the same user", "process", p, "error", err)
		}
	}
}
