package pods

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/gauge"
	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// metrics shows what is followed, and on the leader why keys rest.
type metrics struct {
	w       *Watcher
	session atomic.Pointer[Session]
	proofs  *prometheus.CounterVec
	events  *prometheus.CounterVec
}

var (
	descFollowed = gauge.Desc("pods_followed", "Pods of Kubernetes that this node follows.")
	descUp       = gauge.Desc("pod_watch_up", "1 while this node knows of the pods of Kubernetes, 0 while it does not; the label says why.", "code")
	descAge      = gauge.Desc("pod_watch_age_seconds", "Time since the last word of the watch of pods or nodes that was silent for longest.")
	descMissed   = gauge.Desc("pods_not_followed", "Pods that hold keys, or whose keys rest without proof, in namespaces that are not followed: nobody sees them end.")
	descResting  = gauge.Desc("keys_resting", "Keys that rest without proof that their holder can no longer sign, by the reason, on the leader.", "code")
	descProven   = gauge.Desc("keys_proven", "Keys that rest after such a proof until they are free, by its kind, on the leader.", "kind")
)

func newMetrics(registry prometheus.Registerer, w *Watcher) (*metrics, error) {
	m := &metrics{
		w: w,
		proofs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "keysteward", Name: "pod_proofs_total", Help: "Pods that held keys and that this leader proved to be unable to sign, by the kind of proof.",
		}, []string{"kind"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "keysteward", Name: "pod_events_total", Help: "Events for pods by reason and result.",
		}, []string{"reason", "result"}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m, m.proofs, m.events} {
		errs = append(errs, registry.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics of pods: %w", err)
	}
	return m, nil
}

func (m *metrics) begin(s Session) { m.session.Store(&s) }

// end takes back what only the leader knows.
func (m *metrics) end() { m.session.Store(nil) }

func (m *metrics) proof(kind fsmpb.Proof_Kind) { m.proofs.WithLabelValues(proofWord(kind)).Inc() }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descFollowed, descUp, descAge, descMissed, descResting, descProven} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	tell := gauge.To(ch)
	status := m.w.Status()
	tell(descFollowed, float64(status.Pods))
	tell(descUp, gauge.OneIf(status.Code == ""), status.Code)
	tell(descAge, status.Age.Seconds())
	tell(descMissed, float64(m.w.elsewhere(m.w.cfg.View()).pods))
	s := m.session.Load()
	if s == nil {
		return
	}
	resting, proven := map[string]int{}, map[string]int{}
	for a := range (*s).View().Allocations() {
		switch {
		case a.GetState() != fsmpb.AllocationState_ALLOCATION_STATE_RESTING:
		case a.GetProof() != nil:
			proven[proofWord(a.GetProof().GetKind())] += len(a.GetKeys())
		default:
			resting[code(a)] += len(a.GetKeys())
		}
	}
	for code, n := range resting {
		tell(descResting, float64(n), code)
	}
	for kind, n := range proven {
		tell(descProven, float64(n), kind)
	}
}

// proofWord is a kind of proof as metrics call it.
func proofWord(kind fsmpb.Proof_Kind) string {
	switch kind {
	case fsmpb.Proof_KIND_CALLER:
		return "caller"
	case fsmpb.Proof_KIND_OPERATOR:
		return "operator"
	case fsmpb.Proof_KIND_POD_TERMINATED:
		return testimony.Terminated.String()
	case fsmpb.Proof_KIND_OUT_OF_SERVICE:
		return testimony.OutOfService.String()
	case fsmpb.Proof_KIND_LEASE_EXPIRED:
		return "lease-expired"
	case fsmpb.Proof_KIND_UNSPECIFIED:
	}
	return "unknown"
}
