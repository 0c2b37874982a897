package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/keysteward/keysteward/cluster/chaos/command"
	"github.com/keysteward/keysteward/cluster/chaos/faults"
)

// scope says what a fault is about. Two faults about the same process are never at a time;
// all others overlap.
type scope uint8

const (
	process scope = iota // of one member
	disk                 // what one member remembers is lost: a process's, and one at a time
	links                // between members
	outside              // what all of them need
	place                // of whoever comes to an instruction
)

// kind is a fault that can be drawn.
type kind struct {
	name   string
	weight int
	scope  scope
	// shortest and longest time between the fault and its end.
	shortest, longest time.Duration
	// leaders says how often of ten it is the leader that is struck.
	leaders int
	// points says that it takes nodes with failpoints.
	points bool
	// clouds says that it takes logical clouds.
	clouds bool
	// tls says that it takes nodes with certificates.
	tls bool
	// disks says that it takes disks in memory.
	disks bool
	// make says what happens to a member; r draws what may vary.
	make func(s *stage, member int, r *rand.Rand) faults.Fault
}

// kinds are all faults. The weights are tuned so that each of the broken builds is
// caught soon: most of what was ever wrong in such clusters began with a leader that
// slept.
func kinds() []kind {
	const ms, sec = time.Millisecond, time.Second
	return []kind{
		{name: "kill", weight: 10, scope: process, shortest: 100 * ms, longest: 5 * sec, leaders: 5, make: (*stage).killed},
		{name: "nap", weight: 6, scope: process, shortest: 50 * ms, longest: 400 * ms, leaders: 7, make: (*stage).paused},
		{name: "sleep", weight: 20, scope: process, shortest: 1500 * ms, longest: 5 * sec, leaders: 9, make: (*stage).slept},
		{name: "terminate", weight: 6, scope: process, shortest: 500 * ms, longest: 3 * sec, leaders: 7, make: (*stage).terminated},
		{name: "replace", weight: 3, scope: disk, shortest: 500 * ms, longest: 4 * sec, leaders: 3, make: (*stage).replaced},
		{name: "damage", weight: 2, scope: disk, shortest: 200 * ms, longest: 3 * sec, leaders: 3, make: (*stage).damaged},
		{name: "disk-full", weight: 2, scope: process, shortest: 1 * sec, longest: 6 * sec, leaders: 6, disks: true, make: (*stage).diskFull},
		{name: "transfer", weight: 6, scope: outside, shortest: 0, longest: 0, make: (*stage).transferred},
		{name: "roll", weight: 2, scope: outside, shortest: 0, longest: 0, make: (*stage).rolled},
		{name: "isolate", weight: 8, scope: links, shortest: 500 * ms, longest: 6 * sec, leaders: 6, make: (*stage).isolated},
		{name: "deafen", weight: 5, scope: links, shortest: 500 * ms, longest: 5 * sec, leaders: 6, make: (*stage).deafened},
		{name: "mute", weight: 5, scope: links, shortest: 500 * ms, longest: 5 * sec, leaders: 6, make: (*stage).muted},
		{name: "part", weight: 4, scope: links, shortest: 500 * ms, longest: 6 * sec, leaders: 5, make: (*stage).parted},
		{name: "delay", weight: 6, scope: links, shortest: 1 * sec, longest: 8 * sec, leaders: 5, make: (*stage).delayed},
		{name: "chain-away", weight: 3, scope: outside, shortest: 2 * sec, longest: 10 * sec, make: (*stage).chainAway},
		{name: "apiserver-away", weight: 3, scope: outside, shortest: 2 * sec, longest: 10 * sec, clouds: true, make: (*stage).apiserverAway},
		{name: "log-stalls", weight: 4, scope: process, shortest: 500 * ms, longest: 4 * sec, leaders: 6, points: true, make: (*stage).logStalled},
		{name: "log-fails", weight: 3, scope: process, shortest: 200 * ms, longest: 3 * sec, leaders: 5, points: true, make: (*stage).logFailed},
		{name: "at-point", weight: 14, scope: place, shortest: 500 * ms, longest: 4 * sec, points: true, make: (*stage).atPoint},
		{name: "late-words", weight: 12, scope: place, shortest: 0, longest: 0, points: true, make: (*stage).lateWords},
		{name: "certificate", weight: 3, scope: process, shortest: 2 * sec, longest: 8 * sec, leaders: 6, tls: true, make: (*stage).certificateOver},
		{name: "unheard", weight: 14, scope: place, shortest: 0, longest: 0, points: true, make: (*stage).unheard},
		{name: "clock-off", weight: 3, scope: process, shortest: 2 * sec, longest: 8 * sec, leaders: 6, points: true, make: (*stage).clockOff},
	}
}

func kindNames() string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return strings.Join(names, ",")
}

var errNoKind = errors.New("no such fault")

// kindsNamed returns all kinds for no names.
func kindsNamed(names string) ([]kind, error) {
	if names == "" {
		return kinds(), nil
	}
	var some []kind
	for name := range strings.SplitSeq(names, ",") {
		at := slices.IndexFunc(kinds(), func(k kind) bool { return k.name == name })
		if at < 0 {
			return nil, fmt.Errorf("%w: %w: %q, there are %s", command.ErrUsage, errNoKind, name, kindNames())
		}
		some = append(some, kinds()[at])
	}
	return some, nil
}

// claimsNobody tells whether the fault needs no process for itself, or finds out late
// which.
func (k kind) claimsNobody() bool {
	return k.scope == links || k.scope == place || k.scope == outside && k.name != "roll"
}
