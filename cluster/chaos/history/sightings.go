package history

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// mostOfAKind is how many violations of one kind are told.
const mostOfAKind = 5

// Sightings checks all reads, stale or not, by the index that each says was applied.
// It returns what is wrong in words.
func Sightings(ops []Op) []string {
	reads := slices.DeleteFunc(slices.Clone(ops), func(o Op) bool {
		return o.Kind != Read && o.Kind != StaleRead || o.Outcome != Done
	})
	var found []string
	for _, check := range []func() []string{
		func() []string { return sameIndexSameAnswer(reads) },
		func() []string { return fencesGrow(reads) },
		func() []string { return fencesAreUnique(ops) },
		func() []string { return nodesGoForward(reads) },
		func() []string { return latestIsSeen(reads) },
		func() []string { return nothingFromTheFuture(ops) },
	} {
		wrong := check()
		if more := len(wrong) - mostOfAKind; more > 0 {
			wrong = append(wrong[:mostOfAKind], fmt.Sprintf("and %d more of this kind", more))
		}
		found = append(found, wrong...)
	}
	return found
}

type place struct {
	pod   string
	index uint64
}

// sameIndexSameAnswer: a state is the same on all nodes.
func sameIndexSameAnswer(reads []Op) (found []string) {
	first := map[place]Op{}
	for _, o := range reads {
		at := place{o.Pod, o.Index}
		other, known := first[at]
		switch {
		case !known:
			first[at] = o
		case !reflect.DeepEqual(other.Held, o.Held) || other.Waiting != o.Waiting:
			found = append(found, fmt.Sprintf("two answers at one index: %s; and %s", other, o))
		}
	}
	return found
}

// fencesGrow: with the index, for each pod's name.
func fencesGrow(reads []Op) (found []string) {
	sorted := slices.Clone(reads)
	slices.SortStableFunc(sorted, func(a, b Op) int { return cmp.Compare(a.Index, b.Index) })
	last := map[string]Op{}
	for _, o := range sorted {
		if o.Held == nil {
			continue
		}
		before, known := last[o.Pod]
		if known && before.Held.Fence > o.Held.Fence {
			found = append(found, fmt.Sprintf("a fence went back: %s; then %s", before, o))
		}
		if known && before.Held.Fence == o.Held.Fence && before.Held.Proven && !o.Held.Proven {
			found = append(found, fmt.Sprintf("a proof was lost: %s; then %s", before, o))
		}
		last[o.Pod] = o
	}
	return found
}

// fencesAreUnique: each change of a holder has a fence of its own.
func fencesAreUnique(ops []Op) (found []string) {
	first := map[int64]Op{}
	for _, o := range ops {
		if o.Held == nil || o.Outcome != Done {
			continue
		}
		other, known := first[o.Held.Fence]
		switch {
		case !known:
			first[o.Held.Fence] = o
		case other.Pod != o.Pod || other.Held.UID != o.Held.UID || other.Held.Resting != o.Held.Resting || !slices.Equal(other.Held.Keys, o.Held.Keys):
			found = append(found, fmt.Sprintf("one fence for two: %s; and %s", other, o))
		}
	}
	return found
}

// nodesGoForward: what a process has applied it does not forget.
func nodesGoForward(reads []Op) (found []string) {
	sorted := slices.Clone(reads)
	slices.SortFunc(sorted, func(a, b Op) int { return cmp.Compare(a.Begin, b.Begin) })
	ended := newHighest[int]()
	for _, o := range sorted {
		if o.PID == 0 {
			continue
		}
		if before, known := ended.by(o.PID, o.Begin); known && before.Index > o.Index {
			found = append(found, fmt.Sprintf("n%d went back: %s; then %s", o.Node+1, before, o))
		}
		ended.add(o.PID, o)
	}
	return found
}

// latestIsSeen: a linearizable read sees all that anybody saw before it began.
func latestIsSeen(reads []Op) (found []string) {
	sorted := slices.Clone(reads)
	slices.SortFunc(sorted, func(a, b Op) int { return cmp.Compare(a.Begin, b.Begin) })
	ended := newHighest[string]()
	for _, o := range sorted {
		if before, known := ended.by("", o.Begin); known && o.Kind == Read && before.Index > o.Index {
			found = append(found, fmt.Sprintf("a read is not of the latest: %s; then %s", before, o))
		}
		ended.add("", o)
	}
	return found
}

// nothingFromTheFuture: no node knows of a pod that has not asked yet.
func nothingFromTheFuture(ops []Op) (found []string) {
	asked := map[string]time.Duration{}
	for _, o := range ops {
		if begin, known := asked[o.UID]; o.Kind == Allocate && (!known || o.Begin < begin) {
			asked[o.UID] = o.Begin
		}
	}
	for _, o := range ops {
		if o.Held == nil {
			continue
		}
		if begin, known := asked[o.Held.UID]; !known || begin > o.End {
			found = append(found, "of a pod that had not asked: "+o.String())
		}
	}
	return found
}

// highest finds the read with the highest index of those that had ended at a time. Ops
// are added, and times asked for, in the order of begins.
type highest[K comparable] struct {
	pending map[K][]Op // not ended at the last time
	best    map[K]Op
}

func newHighest[K comparable]() highest[K] {
	return highest[K]{pending: map[K][]Op{}, best: map[K]Op{}}
}

func (h highest[K]) add(key K, o Op) { h.pending[key] = append(h.pending[key], o) }

func (h highest[K]) by(key K, at time.Duration) (Op, bool) {
	h.pending[key] = slices.DeleteFunc(h.pending[key], func(o Op) bool {
		if o.End >= at {
			return false
		}
		if best, known := h.best[key]; !known || o.Index > best.Index {
			h.best[key] = o
		}
		return true
	})
	best, known := h.best[key]
	return best, known
}
