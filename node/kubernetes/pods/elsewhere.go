package pods

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keysteward/keysteward/fsm"
)

// maxNamed bounds how many namespaces a line for people names.
const maxNamed = 5

// elsewhere are the pods that hold keys, or whose keys rest without proof, in namespaces
// that are not followed: nobody sees them end, so their keys stay until an operator says so.
type elsewhere struct {
	pods       int
	namespaces []string // sorted
}

// elsewhere finds them in the state; there are none where all namespaces are followed.
func (w *Watcher) elsewhere(view *fsm.View) (e elsewhere) {
	if len(w.cfg.Namespaces) == 0 {
		return e
	}
	seen := make(map[string]bool)
	for a := range view.Allocations() {
		if namespace := a.GetPod().GetNamespace(); a.GetProof() == nil && w.feedOf(namespace) == nil {
			e.pods++
			if !seen[namespace] {
				seen[namespace] = true
				e.namespaces = append(e.namespaces, namespace)
			}
		}
	}
	slices.Sort(e.namespaces)
	return e
}

// String says it to people; empty if there are none.
func (e elsewhere) String() string {
	if e.pods == 0 {
		return ""
	}
	names, more := e.namespaces, ""
	if len(names) > maxNamed {
		names, more = names[:maxNamed], fmt.Sprintf(" and %d more", len(names)-maxNamed)
	}
	return fmt.Sprintf("%d pods that hold keys are in namespaces that are not followed: %s%s; their keys stay where they are until keysteward release --confirm-stopped",
		e.pods, strings.Join(names, ", "), more)
}

// tellElsewhere writes a line when that is news.
func (r *run) tellElsewhere(view *fsm.View) {
	is := r.w.elsewhere(view).String()
	if is != r.elsewhere && is != "" {
		r.w.log.Warn("the end of pods that hold keys is seen by nobody", "code", CodeNotFollowed, "reason", is)
	}
	r.elsewhere = is
}
