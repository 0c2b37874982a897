package history

import (
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// phase of what a pod's name holds.
type phase uint8

const (
	nothing phase = iota
	held
	resting
	proven // resting, with proof: it may be over at any time
)

// name is what the model knows of one pod's name. It is comparable.
type name struct {
	phase phase
	uid   string
	// fence of the allocation, or the least that it may be while nobody has seen it.
	// Under nothing it is that of the last one.
	fence int64
	exact bool
	keys  string // separated by spaces
	// waiting are the UIDs that may have a request, sorted. A request may be granted at
	// any time, by somebody else's command; it shows when the keys are seen.
	waiting string
}

func (n name) waits(uid string) bool {
	return uid != "" && slices.Contains(strings.Fields(n.waiting), uid)
}

func (n name) wait(uid string) name {
	if !n.waits(uid) {
		all := append(strings.Fields(n.waiting), uid)
		slices.Sort(all)
		n.waiting = strings.Join(all, " ")
	}
	return n
}

func (n name) unwait(uid string) name {
	all := slices.DeleteFunc(strings.Fields(n.waiting), func(u string) bool { return u == uid })
	n.waiting = strings.Join(all, " ")
	return n
}

// step returns whether an operation can have been answered so, and what is then.
func (n name) step(o Op) (name, bool) {
	switch o.Kind {
	case Allocate:
		return n.allocate(o)
	case Release:
		return n.release(o)
	case Read:
		if o.Waiting != "" && !n.waits(o.Waiting) {
			return n, false
		}
		return n.see(o.Held)
	case StaleRead: // judged elsewhere
	}
	return n, true
}

func (n name) allocate(o Op) (name, bool) {
	switch {
	case o.Outcome == Refused:
		return n, true
	case o.Outcome == Unknown || o.Held == nil:
		return n.wait(o.UID), true
	case o.Held.UID != o.UID || o.Held.Resting:
		return n, false
	}
	n, ok := n.wait(o.UID).see(o.Held)
	return n.unwait(o.UID), ok
}

// see has somebody look at what the name holds. What changed unseen since the last look
// is the end of a rest that was proven, and the grant of a request.
func (n name) see(h *Holding) (name, bool) {
	if h == nil {
		ok := n.phase == nothing || n.phase == proven
		n.phase, n.uid, n.keys = nothing, "", ""
		return n, ok
	}
	keys := strings.Join(h.Keys, " ")
	if n.phase != nothing && n.phase == phaseOf(h) && n.uid == h.UID && n.keys == keys && n.mayBe(h.Fence) {
		n.fence, n.exact = h.Fence, true
		return n, true
	}
	if h.Resting || h.Fence <= n.fence || !n.waits(h.UID) {
		return n, false
	}
	switch n.phase {
	case nothing, proven: // the old holder, if there is one, can no longer sign
	case held, resting: // it may have more, or have come back
		if n.uid != h.UID || !strings.HasPrefix(keys, n.keys) {
			return n, false
		}
	}
	n = n.unwait(h.UID)
	n.phase, n.uid, n.keys, n.fence, n.exact = held, h.UID, keys, h.Fence, true
	return n, true
}

func phaseOf(h *Holding) phase {
	switch {
	case h.Proven:
		return proven
	case h.Resting:
		return resting
	}
	return held
}

// mayBe tells whether this may be the fence of the allocation.
func (n name) mayBe(fence int64) bool {
	return n.exact && fence == n.fence || !n.exact && fence >= n.fence
}

func (n name) release(o Op) (name, bool) {
	fits := n.phase != nothing && n.uid == o.UID && n.mayBe(o.Fence)
	if o.Fence == 0 {
		fits = n.waits(o.UID)
	}
	switch {
	case o.Outcome == Refused:
		return n, !n.belies(o)
	case o.Outcome == Unknown && !fits:
		return n, true
	case !fits:
		return n, false
	}
	n = n.unwait(o.UID)
	if o.Fence == 0 {
		return n, true
	}
	if n.phase == held {
		n.phase, n.fence, n.exact = resting, o.Fence+1, false
	} else {
		n.fence, n.exact = o.Fence, true
	}
	if o.Confirmed {
		n.phase = proven
	}
	return n, true
}

// belies tells whether a release that was refused should not have been.
func (n name) belies(o Op) bool {
	mine := n.uid == o.UID && (n.phase == held || n.phase == resting)
	switch o.Why {
	case NotFound:
		return mine
	case StaleFence:
		return mine && n.exact && n.fence == o.Fence && !n.waits(o.UID)
	}
	return false
}

func (n name) String() string {
	text := map[phase]string{nothing: "nothing", held: "held", resting: "resting", proven: "resting with proof"}[n.phase]
	if n.phase != nothing {
		text += " by " + brief(n.uid)
	}
	about := "fence"
	if !n.exact {
		about = "fence at least"
	}
	text += fmt.Sprintf(", %s %d", about, n.fence)
	if n.waiting != "" {
		text += fmt.Sprintf(", %d may wait", len(strings.Fields(n.waiting)))
	}
	return text
}

// model is the allocation of each pod's name as a register with fence, keys and holder.
var model = porcupine.Model{
	Partition: byPod,
	Init:      func() any { return name{} },
	Step: func(state, input, _ any) (bool, any) {
		n, ok := state.(name).step(input.(Op)) //nolint:forcetypeassert // what Init and operations make
		return ok, n
	},
	DescribeOperation: func(input, _ any) string { return input.(Op).String() }, //nolint:forcetypeassert // as above
	DescribeState:     func(state any) string { return state.(name).String() },  //nolint:forcetypeassert // as above
}

func byPod(all []porcupine.Operation) [][]porcupine.Operation {
	index := map[string]int{}
	var parts [][]porcupine.Operation
	for _, o := range all {
		pod := o.Input.(Op).Pod //nolint:forcetypeassert // as above
		at, known := index[pod]
		if !known {
			at = len(parts)
			index[pod] = at
			parts = append(parts, nil)
		}
		parts[at] = append(parts[at], o)
	}
	return parts
}
