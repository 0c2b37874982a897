package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/keysteward/keysteward/cluster/chaos/history"
)

// figures say how much there was of everything.
func (p program) figures(w *workload, t *torment, k *keeper, took time.Duration) string {
	count := map[history.Outcome]int{}
	granted := 0
	ops := w.rec.Ops()
	for _, o := range ops {
		count[o.Outcome]++
		if o.Kind == history.Allocate && o.Held != nil {
			granted++
		}
	}
	minutes := took.Minutes()
	text := fmt.Sprintf("%d operations in %s (%.0f a minute; %d done, %d refused, %d unknown), %d grants, %d settlers with keys, %d faults (%.0f a minute; %d left out)",
		len(ops), took.Round(time.Second), float64(len(ops))/minutes, count[history.Done], count[history.Refused], count[history.Unknown],
		granted, w.settlers.given(), t.struck, float64(t.struck)/minutes, t.skipped)
	if w.clouds != nil {
		text += fmt.Sprintf(", %d kubeconfigs of %d generations", w.clouds.given, len(w.clouds.idents))
	}
	if ended := k.told(); len(ended) > 0 {
		text += fmt.Sprintf("\n  %d times a node ended by itself:\n    %s", len(ended), strings.Join(ended, "\n    "))
	}
	return text
}

// violations are nodes that ended as no node should.
func (k *keeper) violations() (found []string) {
	for _, how := range k.told() {
		if strings.Contains(how, "panic") || strings.Contains(how, "exit code 2") {
			found = append(found, "a node ended by itself: "+how)
		}
	}
	return found
}
