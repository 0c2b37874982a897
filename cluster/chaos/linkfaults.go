package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/keysteward/keysteward/cluster/chaos/faults"
)

// onLinks is a fault of links, which never fail.
func onLinks(name string, does func() (undo []func())) faults.Fault {
	return newFault(name, func(context.Context) (func(context.Context) error, error) {
		all := does()
		return func(context.Context) error {
			for _, undo := range all {
				undo()
			}
			return nil
		}, nil
	})
}

// each does something for each of the others.
func (s *stage) each(member int, does func(other int) (undo func())) (all []func()) {
	for other := range s.count {
		if other != member {
			all = append(all, does(other))
		}
	}
	return all
}

// isolated hears nobody, and is heard by nobody; clients and the chain reach it.
func (s *stage) isolated(member int, _ *rand.Rand) faults.Fault {
	return onLinks("isolate "+faults.NodeName(member), func() []func() {
		return append(s.each(member, func(other int) func() { return s.links.Block(member, other) }),
			s.each(member, func(other int) func() { return s.links.Block(other, member) })...)
	})
}

// deafened is heard by all and hears nobody.
func (s *stage) deafened(member int, _ *rand.Rand) faults.Fault {
	return onLinks("deafen "+faults.NodeName(member), func() []func() {
		return s.each(member, func(other int) func() { return s.links.Block(other, member) })
	})
}

// muted hears all and is heard by nobody.
func (s *stage) muted(member int, _ *rand.Rand) faults.Fault {
	return onLinks("mute "+faults.NodeName(member), func() []func() {
		return s.each(member, func(other int) func() { return s.links.Block(member, other) })
	})
}

// parted are two of the members; the others reach both.
func (s *stage) parted(member int, r *rand.Rand) faults.Fault {
	other := (member + 1 + r.IntN(s.count-1)) % s.count
	return onLinks(fmt.Sprintf("part %s and %s", faults.NodeName(member), faults.NodeName(other)), func() []func() {
		return []func(){s.links.Block(member, other), s.links.Block(other, member)}
	})
}

// delayed is everything that goes to a member, or comes from it, or both: by the same
// time, or in each connection by a time of its own.
func (s *stage) delayed(member int, r *rand.Rand) faults.Fault {
	by := time.Duration(5+r.IntN(400)) * time.Millisecond
	what, how, text := r.IntN(3), s.links.Delay, "by "
	if r.IntN(2) == 0 {
		how, text = s.links.Scatter, "each connection by up to "
	}
	name := []string{"to ", "from ", "to and from "}[what]
	return onLinks(fmt.Sprintf("delay what goes %s%s, %s%s", name, faults.NodeName(member), text, by), func() (all []func()) {
		if what != 1 {
			all = append(all, s.each(member, func(other int) func() { return how(other, member, by) })...)
		}
		if what != 0 {
			all = append(all, s.each(member, func(other int) func() { return how(member, other, by) })...)
		}
		return all
	})
}
