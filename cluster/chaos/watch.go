package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keysteward/keysteward/cluster/chaos/faults"
)

// watchGap is how often nodes are looked at.
const watchGap = 200 * time.Millisecond

// keeper starts nodes again that ended by themselves, as a machine's service manager does.
type keeper struct {
	stage   *stage
	torment *torment

	mu        sync.Mutex
	ended     []string
	confessed bool
}

// keep returns when the context ends.
func (k *keeper) keep(ctx context.Context) {
	before := make([]int, k.stage.count) // processes that were told
	for pause(ctx, watchGap) == nil {
		for i := range k.stage.count {
			pid := k.stage.Nodes.PID(i)
			how, ended := k.stage.Nodes.Ended(i)
			if !ended || k.torment.struckNow(i) {
				continue
			}
			if before[i] != pid {
				before[i] = pid
				k.tell(i, how)
			}
			_ = k.stage.Nodes.StartNode(ctx, i)
		}
	}
}

func (k *keeper) tell(i int, how string) {
	name := faults.NodeName(i)
	k.torment.say("%s ended by itself (%s) and is started again", name, how)
	k.mu.Lock()
	defer k.mu.Unlock()
	why := lastError(k.stage.Nodes.LogTail(name))
	k.confessed = k.confessed || confesses(why)
	k.ended = append(k.ended, fmt.Sprintf("%s: %s: %s", name, how, why))
}

// hopeless tells whether a node ended because it found out that something is wrong. It
// will say so again whenever it is started.
func (k *keeper) hopeless() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.confessed
}

// told is how nodes ended by themselves.
func (k *keeper) told() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ended
}

// lastError is the last line of a log that says why.
func lastError(tail string) string {
	last := ""
	for line := range strings.Lines(tail) {
		line = strings.TrimSpace(line) // a tail is indented
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic:") || strings.HasPrefix(line, "keysteward") || strings.HasPrefix(line, "Error") {
			last = line
		}
	}
	return last
}

// confesses tells whether a line of a node's log says that it found something wrong itself.
func confesses(line string) bool {
	return slices.ContainsFunc(badWords, func(w string) bool { return strings.Contains(line, w) })
}
