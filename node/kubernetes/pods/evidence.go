package pods

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// offFor is how long the word holds that a machine is off.
const offFor = 10 * time.Second

// absence is what a consistent read said of a pod that is in no list.
type absence struct {
	name     podName
	presence testimony.Presence // Gone or Replaced
}

// evidence is all that the Kubernetes with that identity showed of the pod of an
// allocation. If it is in no list and nobody saw its deletion, ask says that it has to be
// asked for (confirm) first.
func (w *Watcher) evidence(a *fsmpb.Allocation, identity string) (e testimony.Evidence, ask bool) {
	pod := a.GetPod()
	w.mu.RLock()
	defer w.mu.RUnlock()
	f := w.feedOf(pod.GetNamespace())
	if f == nil || !f.synced || w.identity != identity {
		return e, false
	}
	memory, absent := w.memories[pod.GetUid()], w.absent[pod.GetUid()]
	listed := w.pods[podName{pod.GetNamespace(), pod.GetName()}]
	switch {
	case memory != nil && memory.deleted:
		e.Presence, e.Last = testimony.Deleted, memory.last
	case listed != nil && listed.UID == pod.GetUid():
		e.Presence, e.Last = testimony.Present, *listed
	case absent.presence == testimony.Unknown:
		return e, true
	default:
		e.Presence, e.Last = absent.presence, w.recalled(a, memory)
	}
	if w.nodes().synced {
		e.Machine = w.machines[e.Last.Node]
	}
	if a.GetNode() == e.Last.Node {
		e.NodeUID = a.GetNodeUid()
	}
	return e, false
}

// recalled is the last sight of a pod that is gone; if this node had none, what the state
// knows: a machine is written there only of a pod that does not tolerate being put out of
// service.
func (w *Watcher) recalled(a *fsmpb.Allocation, m *memory) testimony.Sight {
	if m != nil {
		return m.last
	}
	s := testimony.Sight{Namespace: a.GetPod().GetNamespace(), Name: a.GetPod().GetName(), UID: a.GetPod().GetUid()}
	if a.GetKubernetesUid() == w.identity {
		s.Node = a.GetNode()
	}
	return s
}

// confirm asks Kubernetes for a pod that is in no list, by a consistent read, and
// remembers if it is gone. It reports whether it is; an error says that nobody could tell.
func (w *Watcher) confirm(ctx context.Context, pod *fsmpb.Pod) (gone bool, err error) {
	w.mu.RLock()
	before := w.identity
	w.mu.RUnlock()
	found, err := w.client.pod(ctx, pod.GetNamespace(), pod.GetName())
	is := testimony.Replaced
	switch {
	case apierrors.IsNotFound(err):
		is = testimony.Gone
	case err != nil:
		return false, fmt.Errorf("look for pod %s/%s: %w", pod.GetNamespace(), pod.GetName(), err)
	case string(found.UID) == pod.GetUid():
		return false, nil
	}
	// What answered may be another Kubernetes than the one that listed.
	now, err := w.client.identity(ctx)
	if err != nil {
		return false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if now != before || now != w.identity {
		return false, fmt.Errorf("another Kubernetes answers: %s, not %s", now, before)
	}
	w.absent[pod.GetUid()] = absence{podName{pod.GetNamespace(), pod.GetName()}, is}
	return true, nil
}

// word is what a consistent read said of a machine that is out of service and not ready.
type word struct {
	uid string
	at  time.Time
}

// isOff reports whether a consistent read said just now that this very machine is out of
// service and not ready. What a watch said may be old, and a machine that is back is no proof.
func (w *Watcher) isOff(m testimony.Machine) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	said, known := w.off[m.Name]
	return known && said.uid == m.UID && w.cfg.now().Sub(said.at) < offFor
}

// isMet reports whether it is known whether the pod's machine has an object, and which. A
// watch of nodes may be a little behind that of pods. Where this server may not read nodes
// it never will be.
func (w *Watcher) isMet(e testimony.Evidence) (met, ask bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	nodes := w.nodes()
	return e.Machine.Name != "" || nodes.trouble.code == CodeForbidden, nodes.synced
}

// confirmOff asks Kubernetes for a machine by a consistent read.
func (w *Watcher) confirmOff(ctx context.Context, machine string) error {
	w.mu.RLock()
	before := w.identity
	w.mu.RUnlock()
	asked := w.cfg.now()
	m := testimony.Machine{Name: machine}
	node, err := w.client.asked.Nodes().Get(ctx, machine, metav1.GetOptions{})
	if err == nil {
		m = testimony.ReadNode(node)
	} else if !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for node %s: %w", machine, err)
	}
	now, err := w.client.identity(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case now != before || now != w.identity:
		return fmt.Errorf("another Kubernetes answers: %s, not %s", now, before)
	case m.Known && m.OutOfService && !m.Ready:
		w.off[machine] = word{m.UID, asked}
	default:
		delete(w.off, machine)
	}
	w.putMachineLocked(&m)
	return nil
}

// relist has the pods of a namespace listed anew.
func (w *Watcher) relist(namespace string) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if f := w.feedOf(namespace); f != nil && f.restart != nil {
		f.restart()
	}
}

// Status is how a watcher stands with its Kubernetes.
type Status struct {
	// Identity of the Kubernetes: the UID of its namespace kube-system; empty before it answered.
	Identity string
	// Code and Detail say why nothing, or nothing new, is known; empty if all is well.
	Code, Detail string
	// Pods is how many are followed.
	Pods int
	// Age is the time since the last word of the watch that was silent for longest.
	Age time.Duration
}

// Status says how the watcher stands with its Kubernetes.
func (w *Watcher) Status() Status {
	w.mu.RLock()
	defer w.mu.RUnlock()
	s := Status{Identity: w.identity, Pods: len(w.pods), Code: w.asking.code, Detail: w.asking.detail}
	now := w.cfg.now()
	for _, f := range w.feeds {
		if !f.heard.IsZero() {
			s.Age = max(s.Age, now.Sub(f.heard))
		}
		switch {
		case s.Code != "":
		case f.trouble.code != "":
			s.Code, s.Detail = f.trouble.code, f.name+": "+f.trouble.detail
		case !f.synced:
			s.Code, s.Detail = CodeStarting, f.name+" are not listed yet"
		}
	}
	return s
}

// Check is a line of the node's readiness, a note: a node that knows nothing of pods
// serves all the same, and takes no key from anybody meanwhile.
func (w *Watcher) Check() node.Check {
	s := w.Status()
	if s.Code != "" {
		return node.Check{Name: "pods", Detail: s.Code + ": " + s.Detail}
	}
	if missed := w.elsewhere(w.cfg.View()).String(); missed != "" {
		return node.Check{Name: "pods", Detail: CodeNotFollowed + ": " + missed}
	}
	return node.Check{Name: "pods", OK: true, Detail: fmt.Sprintf("%d followed", s.Pods)}
}
