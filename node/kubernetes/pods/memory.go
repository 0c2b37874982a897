package pods

import (
	"cmp"
	"slices"
	"time"

	core "k8s.io/api/core/v1"

	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

const (
	// freshFor is how long a pod is remembered that the state does not name. The state
	// of this node may be behind that of the leader, and a pod may end while the keys that
	// it asked for are being granted.
	freshFor = 10 * time.Minute
	// maxFresh bounds them: 2 MB.
	maxFresh = 8192
)

// memory is the last that was seen of a pod whose object is not there any more.
type memory struct {
	last    testimony.Sight
	deleted bool // a watch showed the deletion; else the object was missing from a list
	at      time.Time
}

// deletedLocked remembers the last state of a pod that a watch saw deleted.
func (w *Watcher) deletedLocked(pod *core.Pod) {
	s := testimony.Read(pod)
	w.memories[s.UID] = &memory{last: s, deleted: true, at: w.cfg.now()}
	w.boundLocked()
	w.callLocked()
}

// lostLocked remembers the last sight of a pod that a list lacks, if the state names it.
func (w *Watcher) lostLocked(s *testimony.Sight) {
	if m := w.memories[s.UID]; m == nil && w.named(s) {
		w.memories[s.UID] = &memory{last: *s, at: w.cfg.now()}
	}
}

// named reports whether the applied state names the pod as one that holds keys, rests
// from them or waits for them.
func (w *Watcher) named(s *testimony.Sight) bool {
	view := w.cfg.View()
	return view.Allocation(s.Namespace, s.Name).GetPod().GetUid() == s.UID || view.Request(s.Namespace, s.Name).GetPod().GetUid() == s.UID
}

// boundLocked forgets some of the pods that the state does not name, if they are many.
func (w *Watcher) boundLocked() {
	if len(w.memories) > w.memoriesMost {
		w.forgetLocked()
	}
}

// forgetLocked forgets pods that the state does not name: those of long ago, and of the
// others all but the latest, so that it is not done again for each that follows.
func (w *Watcher) forgetLocked() {
	now := w.cfg.now()
	var fresh []string
	for uid, m := range w.memories {
		switch {
		case w.named(&m.last):
		case now.Sub(m.at) > freshFor:
			delete(w.memories, uid)
		default:
			fresh = append(fresh, uid)
		}
	}
	if over := len(fresh) - maxFresh/2; len(fresh) > maxFresh {
		slices.SortFunc(fresh, func(a, b string) int { return cmp.Compare(w.memories[a].at.UnixNano(), w.memories[b].at.UnixNano()) })
		for _, uid := range fresh[:over] {
			delete(w.memories, uid)
		}
	}
	for uid, a := range w.absent {
		if !w.named(&testimony.Sight{Namespace: a.name.namespace, Name: a.name.name, UID: uid}) {
			delete(w.absent, uid)
		}
	}
	w.memoriesMost = len(w.memories) + maxFresh
}
