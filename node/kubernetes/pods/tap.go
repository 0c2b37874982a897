package pods

import (
	"sync"

	"k8s.io/apimachinery/pkg/watch"
)

// tap is a watch of which somebody else hears each event first.
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
	for e := range t.from.ResultChan() {
		hear(e)
		select {
		case t.result <- e:
		case <-t.done:
			return
		}
	}
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
