package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/keysteward/keysteward/cluster/chaos/history"
)

const (
	// patience is how long a pod waits for keys before it gives up.
	patience = 20 * time.Second
	// strangerTime is after how long an operator looks who stands before a pod that waits.
	strangerTime = 2 * time.Second
)

// pod is a name under which one pod after the other lives. The ones before are gone for
// good when the next one begins to sign, as a StatefulSet has it.
type pod struct {
	*caller
	name    string
	r       *rand.Rand
	think   time.Duration
	signing *history.Signing
}

// live lets pods come and go under the name until the context ends.
func (p *pod) live(ctx context.Context) {
	for ctx.Err() == nil {
		p.life(ctx)
		p.rest(ctx, 1)
	}
}

// rest does nothing for some times of thinking.
func (p *pod) rest(ctx context.Context, times float64) {
	_ = pause(ctx, time.Duration(p.r.ExpFloat64()*times*float64(p.think)))
}

func (p *pod) anyNode() int { return p.r.IntN(len(p.apis)) }

// life of one pod, from its first question to the word that it has stopped.
func (p *pod) life(ctx context.Context) {
	uid, keys := p.newUID(), 1+p.r.Int64N(3)
	mine := p.obtain(ctx, uid, keys)
	if mine == nil {
		p.giveUp(ctx, uid)
		return
	}
	p.rest(ctx, 10)
	for range p.r.IntN(3) { // its init container runs again
		if again := p.allocate(ctx, p.anyNode(), p.name, uid, keys); again.Held != nil {
			mine = again.Held
		}
		p.rest(ctx, 2)
	}
	switch p.r.IntN(4) {
	case 0: // says goodbye, which proves nothing: it may go on signing
		p.goodbye(ctx, uid, mine.Fence)
		p.rest(ctx, 20)
	case 1: // says goodbye, and comes back
		p.goodbye(ctx, uid, mine.Fence)
		p.rest(ctx, 5)
		if back := p.obtain(ctx, uid, keys); back != nil {
			mine = back
		}
		p.rest(ctx, 5)
	case 2: // vanishes; the next one asks while nobody knows what became of it
		next := p.newUID()
		for range 1 + p.r.IntN(3) {
			p.allocate(ctx, p.anyNode(), p.name, next, keys)
			p.rest(ctx, 2)
		}
		defer p.giveUp(ctx, next)
	}
	p.stop(ctx, uid, mine.Fence)
}

// newUID is drawn, so that the same seed lets the same pods live.
func (p *pod) newUID() string {
	var id uuid.UUID
	for i := range id {
		id[i] = byte(p.r.Uint32()) //nolint:gosec // the lowest eight bits
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // RFC 9562, version 4
	return id.String()
}

// obtain asks for keys until they are granted, nil if that takes too long. From then on
// the pod signs.
func (p *pod) obtain(ctx context.Context, uid string, keys int64) *history.Holding {
	for began := time.Now(); ctx.Err() == nil && time.Since(began) < patience; {
		o := p.allocate(ctx, p.anyNode(), p.name, uid, keys)
		if o.Held != nil {
			p.signing.Begin(p.name, uid, o.Held.Keys, p.rec.Now())
			return o.Held
		}
		if time.Since(began) > strangerTime {
			p.clear(ctx, uid)
		}
		p.rest(ctx, 5)
	}
	return nil
}

// clear has an operator look who stands before the pod, and say that it has stopped: all
// earlier pods of the name have, but a request of theirs may have been carried out late.
func (p *pod) clear(ctx context.Context, uid string) {
	if o := p.read(ctx, p.anyNode(), p.name, history.Read); o.Outcome == history.Done && o.Held != nil && o.Held.UID != uid && !o.Held.Proven {
		p.release(ctx, p.anyNode(), p.name, o.Held.UID, o.Held.Fence, true)
	}
}

// giveUp withdraws what a pod asked for. Nothing is lost if that fails.
func (p *pod) giveUp(ctx context.Context, uid string) {
	p.release(ctx, p.anyNode(), p.name, uid, 0, false)
}

func (p *pod) goodbye(ctx context.Context, uid string, fence int64) {
	p.release(ctx, p.anyNode(), p.name, uid, fence, false)
}

// stop ends the pod for good, and has an operator say so until it is heard.
func (p *pod) stop(ctx context.Context, uid string, fence int64) {
	p.signing.End(uid)
	for ctx.Err() == nil {
		o := p.release(ctx, p.anyNode(), p.name, uid, fence, true)
		switch {
		case o.Outcome == history.Done, o.Why == history.NotFound:
			return
		case o.Why == history.StaleFence:
			now := p.read(ctx, p.anyNode(), p.name, history.Read)
			if now.Outcome == history.Done && (now.Held == nil || now.Held.UID != uid || now.Held.Proven) {
				return
			}
			if now.Held != nil && now.Outcome == history.Done {
				fence = now.Held.Fence
			}
		}
		p.rest(ctx, 10)
	}
}

// podName is the name of the pod with this index.
func podName(i int) string { return fmt.Sprintf("pod-%d", i) }
