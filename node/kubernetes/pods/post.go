package pods

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"golang.org/x/time/rate"
)

// Reasons of Events on pods. They are stable.
const (
	// EventKeysRest: the pod's keys rest; the message says why and what would end it.
	EventKeysRest = "KeysRest"
	// EventKeysProven: the pod can provably no longer sign.
	EventKeysProven = "KeysProven"
	// EventKeysFree: keys that the pod held are in the pool again, or its successor's.
	EventKeysFree = "KeysFree"
	// EventKeysWaiting: the pod waits for keys that rest from an earlier UID of its name.
	EventKeysWaiting = "KeysWaiting"
	// EventKeysHeld: the pod is being deleted and keeps its keys until it has ended.
	EventKeysHeld = "KeysHeld"
	// EventLeaseRanOut: the holder did not renew its lease; its sidecar has killed what signs.
	EventLeaseRanOut = "LeaseRanOut"
	// EventNotAllowed: the pod may not ask for keys.
	EventNotAllowed = "KeysNotAllowed"
)

const (
	maxPosts    = 512  // that wait
	maxPosted   = 2048 // that are remembered, so that they are not posted again
	maxMessage  = 1000 // bytes; Kubernetes takes 1,024
	maxPrefix   = 200  // bytes of a pod's name in that of its Event
	postsPerSec = 10
	postsBurst  = 50

	// Pods of any namespace can have Events of the reason EventNotAllowed posted, as many as
	// there are pods, and must not keep back what others have to know.
	maxRefusals    = 32
	refusalsPerSec = 1
	refusalsBurst  = 10
)

// poster posts Events on pods as well as it can: what does not get through is dropped, and
// nobody waits for it.
type poster struct {
	w       *Watcher
	queue   chan *core.Event
	limiter *rate.Limiter

	mu     sync.Mutex
	posted map[string]bool // names of Events
}

func newPoster(w *Watcher, most, perSec, burst int) *poster {
	return &poster{w: w, queue: make(chan *core.Event, most), limiter: rate.NewLimiter(rate.Limit(perSec), burst), posted: make(map[string]bool)}
}

// Post posts an Event of type Warning or Normal on a pod, once, if Kubernetes takes it. It
// never blocks. The same Event is not posted again by this node for a while, nor by
// another as long as Kubernetes keeps it.
func (w *Watcher) Post(namespace, name, uid string, warning bool, reason, message string) {
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	sum := sha256.Sum256([]byte(uid + "\x00" + reason + "\x00" + message))
	now := metav1.NewTime(w.cfg.now())
	e := &core.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name[:min(len(name), maxPrefix)] + "." + hex.EncodeToString(sum[:8]),
		},
		InvolvedObject: core.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: name, UID: types.UID(uid)},
		Reason:         reason, Message: message, Type: core.EventTypeNormal,
		Source:         core.EventSource{Component: "keysteward", Host: w.cfg.Node},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		ReportingController: "keysteward.io/server", ReportingInstance: w.cfg.Node,
	}
	if warning {
		e.Type = core.EventTypeWarning
	}
	p := w.poster
	if reason == EventNotAllowed {
		p = w.refusals
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.posted[e.Name] {
		return
	}
	if len(p.posted) >= maxPosted {
		clear(p.posted)
	}
	select {
	case p.queue <- e:
		p.posted[e.Name] = true
	default:
		w.metrics.events.WithLabelValues(reason, "dropped").Inc()
	}
}

// run posts until ctx ends.
func (p *poster) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-p.queue:
			if p.limiter.Wait(ctx) != nil {
				return
			}
			p.post(ctx, e)
		}
	}
}

func (p *poster) post(ctx context.Context, e *core.Event) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	began := time.Now()
	_, err := p.w.client.asked.Events(e.Namespace).Create(ctx, e, metav1.CreateOptions{})
	result := "posted"
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
	case apierrors.IsNotFound(err), apierrors.HasStatusCause(err, core.NamespaceTerminatingCause):
		result = "no-namespace"
	case apierrors.IsForbidden(err):
		result = "forbidden"
	default:
		result = "failed"
	}
	p.w.metrics.events.WithLabelValues(e.Reason, result).Inc()
	if result != "posted" {
		p.w.log.Debug("an Event was not posted", "pod", e.Namespace+"/"+e.InvolvedObject.Name, "reason", e.Reason, "error", explain(err).detail, "took", time.Since(began))
	}
}
