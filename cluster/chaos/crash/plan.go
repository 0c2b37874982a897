package main

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/keysteward/keysteward/node/ethereum"
	"github.com/keysteward/keysteward/node/failpoint"
)

// fault is what happens to a leader.
type fault string

const (
	faultKill  fault = "kill"
	faultPause fault = "pause"
	faultCut   fault = "cut"
)

func allFaults() []fault { return []fault{faultKill, faultPause, faultCut} }

// trial is one case: a fault at a point, and what may vary in it.
type trial struct {
	number int // in its run, from 1
	point  failpoint.Name
	fault  fault
	// early and late are how many keys pods ask for before the fault, and after it.
	early, late []int64
	// dear says that geth takes no deposit before its fees were raised.
	dear bool
	// goOn is when a leader that is cut off is let go on: at once, while it still takes
	// itself for the leader, or only when another one leads.
	goOn moment
	// heal is when the fault ends: the leader is started again, woken, or connected.
	heal moment
}

// moment is a time in a trial.
type moment string

const (
	atOnce   moment = "at once"
	newLeads moment = "when another leads"
	answered moment = "when all have keys"
)

// plan returns each of the faults at each of the points, shuffled.
func plan(r *rand.Rand, points []failpoint.Name, faults []fault) []trial {
	var list []trial
	for _, point := range points {
		for _, f := range faults {
			list = append(list, newTrial(r, point, f))
		}
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for i := range list {
		list[i].number = i + 1
	}
	return list
}

// allPoints are all at which a leader is caught.
func allPoints() []failpoint.Name {
	return slices.Concat(ethereum.Failpoints(), ethereum.ReplacementFailpoints())
}

func newTrial(r *rand.Rand, point failpoint.Name, f fault) trial {
	t := trial{point: point, fault: f, early: []int64{1, 1 + r.Int64N(2)}, late: []int64{1}}
	t.dear = slices.Contains(ethereum.ReplacementFailpoints(), point)
	oneOf := func(moments ...moment) moment { return moments[r.IntN(len(moments))] }
	t.goOn, t.heal = newLeads, oneOf(newLeads, answered)
	switch f {
	case faultKill:
		t.heal = oneOf(atOnce, newLeads, answered)
	case faultCut:
		t.goOn = oneOf(atOnce, newLeads)
	case faultPause:
	}
	return t
}

func (t trial) keys() (n int64) {
	for _, keys := range slices.Concat(t.early, t.late) {
		n += keys
	}
	return n
}

// String says what happens when.
func (t trial) String() string {
	switch t.fault {
	case faultKill:
		return fmt.Sprintf("kill at %s, start again %s", t.point, t.heal)
	case faultPause:
		return fmt.Sprintf("pause at %s, wake %s", t.point, t.heal)
	case faultCut:
		return fmt.Sprintf("cut at %s, go on %s, connect %s", t.point, t.goOn, t.heal)
	}
	return string(t.fault)
}
