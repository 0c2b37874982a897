package pods

import (
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// shortWatch is more than a watch has to last, if it tells nothing, for a reflector to go
// on where it broke off.
const shortWatch = 1100 * time.Millisecond

// tap is a watch of which somebody else hears each event first. It hides from a reflector
// what would make that list anew although the watch can go on: a list does not tell what
// happened in between.
type tap struct {
	from   watch.Interface
	result chan watch.Event
	done   chan struct{}
	once   sync.Once
}

func newTap(from watch.Interface, hear func(watch.Event)) *tap {
	t := &tap{from: from, result: make(chan watch.Event), done: make(chan struct{})}
	go t.run(hear) // until Stop, which every reader of a watch owes it
	return t
}

func (t *tap) run(hear func(watch.Event)) {
	defer close(t.result)
	began, events := time.Now(), 0
	for e := range t.from.ResultChan() {
		if broke(e) {
			t.from.Stop()
			break
		}
		events++
		hear(e)
		select {
		case t.result <- e:
		case <-t.done:
			return
		}
	}
	if events == 0 {
		rest := time.NewTimer(shortWatch - time.Since(began))
		defer rest.Stop()
		select {
		case <-rest.C:
		case <-t.done:
		}
	}
}

// broke reports whether an event is no word of Kubernetes but the end of the connection.
func broke(e watch.Event) bool {
	if e.Type != watch.Error {
		return false
	}
	status, ok := e.Object.(*metav1.Status)
	return ok && status.Details != nil && slices.ContainsFunc(status.Details.Causes, func(c metav1.StatusCause) bool {
		return c.Type == "ClientWatchDecoding"
	})
}

// Stop implements watch.Interface.
func (t *tap) Stop() {
	t.once.Do(func() {
		close(t.done)
		t.from.Stop()
	})
}

// ResultChan implements watch.Interface.
func (t *tap) ResultChan() <-chan watch.Event { return t.result }
