package pods

import (
	"context"
	"sync"
	"time"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// maxAsked bounds requests for pods at once.
const maxAsked = 8

// asker asks Kubernetes for the pods that are in no list, each once if the answer is that
// it is gone. A pod that is there all the same shows that the list is not what it should
// be: then that is made anew, and nothing is polled.
type asker struct {
	w        *Watcher
	answered chan struct{} // speaks when something is known that was not
	wake     chan struct{}

	mu       sync.Mutex
	wanted   map[string]*question // by UID, or a machine's name behind a slash
	pass     int
	relisted time.Time
}

type question struct {
	pod      *fsmpb.Pod // or
	machine  string
	pass     int
	due      time.Time
	failures int
	there    int // how often it was there
}

func newAsker(w *Watcher) *asker {
	return &asker{w: w, answered: make(chan struct{}, 1), wake: make(chan struct{}, 1), wanted: make(map[string]*question)}
}

// begin begins a look at the state, want says what is to be asked, end forgets the rest.
func (a *asker) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pass++
}

func (a *asker) want(pod *fsmpb.Pod) { a.add(pod.GetUid(), question{pod: pod}) }

// wantMachine asks whether a machine is out of service, again and again while it is wanted.
func (a *asker) wantMachine(name string) { a.add("/"+name, question{machine: name}) }

func (a *asker) add(key string, q question) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wanted[key] == nil {
		a.wanted[key] = &q
	}
	a.wanted[key].pass = a.pass
}

func (a *asker) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for uid, q := range a.wanted {
		if q.pass != a.pass {
			delete(a.wanted, uid)
		}
	}
	if len(a.wanted) == 0 {
		a.w.asks(reason{})
		return
	}
	speak(a.wake)
}

func speak(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// run asks until ctx ends.
func (a *asker) run(ctx context.Context) {
	for ctx.Err() == nil {
		list, pause := a.due(time.Now())
		if len(list) == 0 {
			sleep(ctx, pause, a.wake)
			continue
		}
		var asking sync.WaitGroup
		for _, q := range list {
			asking.Go(func() { a.ask(ctx, q) })
		}
		asking.Wait()
		speak(a.answered)
	}
}

// due are some of the questions whose time has come, or how long it is until the next.
func (a *asker) due(now time.Time) (list []*question, pause time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	pause = time.Hour
	for _, q := range a.wanted {
		if left := q.due.Sub(now); left > 0 {
			pause = min(pause, left)
		} else if list = append(list, q); len(list) == maxAsked {
			break
		}
	}
	return list, pause
}

func (a *asker) ask(ctx context.Context, q *question) {
	var gone bool
	var err error
	if q.machine != "" {
		err = a.w.confirmOff(ctx, q.machine)
	} else {
		gone, err = a.w.confirm(ctx, q.pod)
	}
	if ctx.Err() != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	switch {
	case err != nil:
		q.failures++
		q.due = now.Add(a.w.cfg.pauseAfter(q.failures))
		a.w.asks(explain(err))
	case q.machine != "":
		delete(a.wanted, "/"+q.machine)
		a.w.asks(reason{})
	case gone:
		delete(a.wanted, q.pod.GetUid())
		a.w.asks(reason{})
	default:
		a.contradictLocked(q, now)
	}
}

// contradictLocked: Kubernetes has a pod that it does not list.
func (a *asker) contradictLocked(q *question, now time.Time) {
	q.there++
	q.failures = 0
	q.due = now.Add(a.w.cfg.lagging)
	if q.there == 1 {
		return
	}
	a.w.asks(reason{CodeContradiction, "Kubernetes lists no pod " + q.pod.GetNamespace() + "/" + q.pod.GetName() + ", and has it when asked for it: pods are listed again"})
	q.due = now.Add(a.w.cfg.relistPause)
	if now.Sub(a.relisted) >= a.w.cfg.relistPause {
		a.relisted = now
		a.w.relist(q.pod.GetNamespace())
	}
}

// asks notes why pods can not be asked for.
func (w *Watcher) asks(why reason) {
	w.mu.Lock()
	news := w.asking.code != why.code && why.code != ""
	w.asking = why
	w.mu.Unlock()
	if news {
		w.log.Warn("whether pods are gone can not be told; their keys stay where they are meanwhile", "code", why.code, "reason", why.detail)
	}
}
