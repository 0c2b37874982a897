package pods

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// Session is the leadership in which the duty runs.
type Session interface {
	// View returns the applied state, which includes everything that was logged
	// before the session began.
	View() *fsm.View
	// Propose has the command decided, after filling in version, session and wall
	// clock, and returns its value. When it returns without an error, View shows the change.
	Propose(ctx context.Context, cmd *fsmpb.Command) (any, error)
}

const (
	maxObservations = 500 // in one command
	// coalesce is how long the duty waits for more after something changed.
	coalesce = 20 * time.Millisecond
	// busyShare is how many times as long as a look at the state the pause after it is, so
	// that looking never takes more than a tenth of the time.
	busyShare = 9
	// lookEvery is the longest time between two looks, should a call have been missed.
	lookEvery = time.Minute
	// tellAgain is the time after which something is proposed again that the state took
	// without a change.
	tellAgain = time.Minute
)

// Duty tells the state what a [Watcher] sees. It keeps nothing between sessions.
type Duty struct{ w *Watcher }

// Duty returns the leader's part.
func (w *Watcher) Duty() *Duty { return &Duty{w} }

// Run works until ctx ends, and then returns nil when everything that it began has ended.
func (d *Duty) Run(ctx context.Context, s Session) error {
	var owned sync.WaitGroup
	defer owned.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{
		w: d.w, session: s, told: make(map[telling]time.Time),
		asker: newAsker(d.w), changes: newChanges(d.w),
	}
	d.w.metrics.begin(s)
	defer d.w.metrics.end()
	owned.Go(func() { r.asker.run(ctx) })
	failures := 0
	for ctx.Err() == nil {
		view := s.View()
		changed := view.WatchHolders()
		began := time.Now()
		identity, list := r.pass(view)
		took := time.Since(began)
		if err := errors.Join(r.propose(ctx, identity, list), r.withdraw(ctx, view)); err != nil && ctx.Err() == nil {
			failures++
			d.w.log.Warn("what was seen of pods could not be told to the cluster; it is tried again", "observations", len(list), "error", err)
			sleep(ctx, d.w.cfg.pauseAfter(failures), nil)
			continue
		}
		failures = 0
		if len(list) == 0 {
			r.wait(ctx, changed)
		}
		sleep(ctx, max(coalesce, busyShare*took), nil)
	}
	return nil
}

// run is the duty in one session.
type run struct {
	w       *Watcher
	session Session
	told    map[telling]time.Time // what the state took, maybe without a change, and when
	asker   *asker
	changes *changes
	// elsewhere is what was told of pods that are not followed.
	elsewhere string
}

// telling names an observation.
type telling struct {
	uid    string
	fence  uint64
	kind   fsmpb.PodObservation_Kind
	proof  fsmpb.Proof_Kind
	code   string
	detail string
}

func tellingOf(o *fsmpb.PodObservation) telling {
	return telling{o.GetPod().GetUid(), o.GetFence(), o.GetKind(), o.GetProof().GetKind(), o.GetCode(), o.GetDetail()}
}

// pass looks at every allocation and returns what the state does not know yet, and which
// Kubernetes showed it.
func (r *run) pass(view *fsm.View) (identity string, list []*fsmpb.PodObservation) {
	now := time.Now()
	for key, at := range r.told {
		if now.Sub(at) > tellAgain {
			delete(r.told, key)
		}
	}
	identity = r.w.known()
	r.asker.begin()
	r.changes.begin()
	for a := range view.Allocations() {
		r.changes.see(view, a)
		if identity == "" || a.GetProof() != nil {
			continue
		}
		if o := r.look(view, a, identity); o != nil {
			if _, lately := r.told[tellingOf(o)]; !lately {
				list = append(list, o)
			}
		}
	}
	r.asker.end()
	r.changes.end(view)
	r.tellElsewhere(view)
	return identity, list
}

// look judges the pod of one allocation, or has it asked for.
func (r *run) look(view *fsm.View, a *fsmpb.Allocation, identity string) *fsmpb.PodObservation {
	if o := stranded(view, a, identity); o != nil {
		return o
	}
	e, ask := r.w.evidence(a, identity)
	if ask {
		if a.GetKubernetesUid() == "" || a.GetKubernetesUid() == identity {
			r.asker.want(a.GetPod())
		}
		return nil
	}
	v := testimony.Judge(a.GetPod().GetUid(), e)
	r.changes.judge(a, v)
	if v.Kind == testimony.OutOfService && !r.w.isOff(e.Machine) {
		r.asker.wantMachine(e.Machine.Name)
		return nil
	}
	o := decide(a, e, v, identity)
	if o.GetKind() == fsmpb.PodObservation_KIND_SEEN && a.GetNode() == "" && o.GetNode() != "" {
		// Its machine is written down once, so it has to be known which one that is.
		if met, ask := r.w.isMet(e); !met {
			if ask {
				r.asker.wantMachine(o.GetNode())
			}
			return nil
		}
	}
	return o
}

// known is which Kubernetes the watcher knows the pods of, empty if it knows none.
func (w *Watcher) known() string {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, f := range w.feeds[:len(w.feeds)-1] {
		if f.synced {
			return w.identity
		}
	}
	return ""
}

// propose tells the state, in commands of bounded size.
func (r *run) propose(ctx context.Context, identity string, list []*fsmpb.PodObservation) error {
	for len(list) > 0 {
		n := min(len(list), maxObservations)
		for _, o := range list[:n] {
			o.WaitMs = uint64(r.w.cfg.RestAfterProof.Milliseconds()) //nolint:gosec // not negative
			if o.GetProof() != nil {
				o.Proof.By = "node " + r.w.cfg.Node
			}
		}
		value, err := r.session.Propose(ctx, &fsmpb.Command{
			Caller: dutyCaller(),
			Body:   &fsmpb.Command_ObservePods{ObservePods: &fsmpb.ObservePods{KubernetesUid: identity, Pods: list[:n]}},
		})
		if err != nil {
			return fmt.Errorf("propose what was seen of %d pods: %w", n, err)
		}
		now, changed := time.Now(), value == fsm.ObservedPods(n)
		for _, o := range list[:n] {
			if !changed {
				r.told[tellingOf(o)] = now
			}
			r.note(o)
		}
		list = list[n:]
	}
	return nil
}

// note writes a line for people about what was told.
func (r *run) note(o *fsmpb.PodObservation) {
	pod := o.GetPod().GetNamespace() + "/" + o.GetPod().GetName()
	switch o.GetKind() {
	case fsmpb.PodObservation_KIND_PROVEN:
		r.w.metrics.proof(o.GetProof().GetKind())
		r.w.log.Info("a pod that held keys can no longer sign", "pod", pod, "uid", o.GetPod().GetUid(), "proof", o.GetProof().GetKind().String(), "seen", o.GetProof().GetDetail())
	case fsmpb.PodObservation_KIND_GONE:
		r.w.log.Warn("the keys of a pod rest", "pod", pod, "uid", o.GetPod().GetUid(), "code", o.GetCode(), "reason", o.GetDetail(),
			"ended by", ends(r.session.View().Allocation(o.GetPod().GetNamespace(), o.GetPod().GetName())))
	default:
		r.w.log.Debug("a pod that holds keys was seen", "pod", pod, "uid", o.GetPod().GetUid(), "node", o.GetNode(), "code", o.GetCode())
	}
}

// wait waits until something may be to do.
func (r *run) wait(ctx context.Context, changed fsm.Changes) {
	ctx, stop := context.WithTimeout(ctx, min(lookEvery, r.w.cfg.withdrawAfter))
	defer stop()
	var watching sync.WaitGroup
	watching.Go(func() {
		defer stop()
		select {
		case <-r.w.changed:
		case <-r.asker.answered:
		case <-ctx.Done():
		}
	})
	changed.Wait(ctx.Done())
	stop()
	watching.Wait()
}

// pauseAfter is how long to wait after so many failures in a row, the first being 1: twice
// as long each time, between half and all of that.
func (c *Config) pauseAfter(failures int) time.Duration {
	pause := c.RetryMin << min(failures-1, maxRetrySteps)
	if pause > c.RetryMax || pause <= 0 {
		pause = c.RetryMax
	}
	return pause/2 + rand.N(pause/2+1) //nolint:gosec // no secret
}

// sleep waits until the time is over, ctx ends or a call comes.
func sleep(ctx context.Context, d time.Duration, called <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-called:
	case <-ctx.Done():
	}
}
