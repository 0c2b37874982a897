package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// most faults at a time.
const most = 3

// strike is one fault that was drawn.
type strike struct {
	number int // from 1
	kind   kind
	at     time.Duration // after the beginning of the chaos
	lasts  time.Duration
	leader bool   // the leader is meant, whoever that is then
	member int    // else this one, from 0; the next one if it is busy
	draw   uint64 // seed of what may vary in it
}

// plan draws what happens in so much time: a Poisson process of faults that last, so that
// some come alone and some together.
func plan(p program, kinds []kind) []strike {
	r := rand.New(rand.NewPCG(p.seed, 1)) //nolint:gosec // nobody must not guess it
	kinds = slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool {
		return k.points && !p.failpoints || k.clouds && p.kubernetes == "" || k.disks && !p.disks || k.tls && p.network != networkNamespaces
	})
	weight := 0
	for _, k := range kinds {
		weight += k.weight
	}
	var list []strike
	var ends []time.Duration // of what is on
	for at := time.Duration(0); weight > 0; {
		at += time.Duration(r.ExpFloat64() * float64(p.gap))
		ends = slices.DeleteFunc(ends, func(end time.Duration) bool { return end <= at })
		if len(ends) >= most {
			at = slices.Min(ends)
			continue
		}
		if at >= p.duration {
			return list
		}
		s := strike{number: len(list) + 1, kind: pick(kinds, r.IntN(weight)), at: at, member: r.IntN(p.nodes), draw: r.Uint64()}
		s.lasts = s.kind.shortest + time.Duration(r.Int64N(int64(s.kind.longest-s.kind.shortest)+1))
		s.leader = r.IntN(10) < s.kind.leaders
		list, ends = append(list, s), append(ends, at+s.lasts)
	}
	return nil
}

func pick(kinds []kind, at int) kind {
	for _, k := range kinds {
		if at -= k.weight; at < 0 {
			return k
		}
	}
	return kinds[len(kinds)-1]
}

// String says what happens when.
func (s strike) String() string {
	whom := fmt.Sprintf("n%d", s.member+1)
	if s.leader {
		whom = "the leader"
	}
	return fmt.Sprintf("%s %s after %s for %s", s.kind.name, whom, s.at.Round(time.Millisecond), s.lasts.Round(time.Millisecond))
}
