package node

import (
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
)

const (
	// roomForGarbage is how much garbage, in bytes, is let pile up at least.
	roomForGarbage = 128 << 20
	usualPercent   = 100 // of the live heap, as Go has it
	mostPercent    = 1600
)

// PaceCollector lets at least 128 MiB of garbage pile up before it is collected, where Go
// would begin at 4: a node with a small state else spends a fifth of its time on
// collecting. A large heap is collected as usual, a memory limit (GOMEMLIMIT) goes before,
// and so does GOGC in the environment.
func PaceCollector() {
	if os.Getenv("GOGC") == "" {
		(&pacer{percent: usualPercent}).look()
	}
}

// pacer looks after each collection how large the heap is.
type pacer struct {
	percent int
	_       [32]byte // finalizers of the smallest objects may never run
}

func (p *pacer) look() {
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(live)
	if want := percentFor(live[0].Value.Uint64()); want < p.percent*9/10 || want > p.percent*11/10 {
		p.percent = want
		debug.SetGCPercent(want)
	}
	next := &pacer{percent: p.percent}
	runtime.SetFinalizer(next, (*pacer).look)
}

// percentFor is how much a live heap of so many bytes may grow, in percent of it.
func percentFor(live uint64) int {
	return int(min(max(usualPercent, roomForGarbage*100/max(live, 1)), mostPercent)) //nolint:mnd // bounded
}
