package clouds

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/gauge"
)

// metrics shows what the duty sees. Only a node whose duty runs exports values of the
// state.
type metrics struct {
	session atomic.Pointer[Session]
	up      *prometheus.GaugeVec
	issued  prometheus.Histogram
	foreign prometheus.Counter
	sweeps  *prometheus.CounterVec
	swept   *prometheus.CounterVec
}

var (
	descCertificates = gauge.Desc("cloud_certificates", "Certificates of logical clouds by state, on the leader.", "state")
	descClouds       = gauge.Desc("cloud_clouds", "Logical clouds by state, on the leader.", "state")
	descWaits        = gauge.Desc("cloud_waits", "Certificates and objects of logical clouds that wait, by reason, on the leader.", "code")
	descExpiry       = gauge.Desc("cloud_certificate_first_expiry_timestamp_seconds", "When the first of the present certificates expires.")
)

func newMetrics(registry prometheus.Registerer, _ *Duty) (*metrics, error) {
	m := &metrics{
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "keysteward", Name: "kubernetes_cluster_up", Help: "1 for every registered Kubernetes cluster that the leader can use, 0 if it is away.",
		}, []string{"provider", "cluster"}),
		issued: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "keysteward", Name: "cloud_certificate_issue_duration_seconds", Help: "Time from when a certificate was wanted, or its renewal begun, until it was stored.",
			Buckets: prometheus.ExponentialBuckets(0.02, 2.5, 12),
		}),
		foreign: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "keysteward", Name: "cloud_foreign_requests_total", Help: "Certificate signing requests of somebody else that had the name of ours.",
		}),
		sweeps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "keysteward", Name: "cloud_sweeps_total", Help: "Looks for what does not belong in a Kubernetes cluster.",
		}, []string{"result"}),
		swept: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "keysteward", Name: "cloud_swept_total", Help: "Objects that sweeps deleted, applied again because they were missing or changed, or left alone because they are of a later state than ours.",
		}, []string{"what"}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m, m.up, m.issued, m.foreign, m.sweeps, m.swept} {
		errs = append(errs, registry.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics of logical clouds: %w", err)
	}
	return m, nil
}

func (m *metrics) begin(s Session) { m.session.Store(&s) }

// end takes back what only the leader knows.
func (m *metrics) end() {
	m.session.Store(nil)
	m.up.Reset()
}

func (m *metrics) reach(key clusterKey, up bool) {
	value := 0.0
	if up {
		value = 1
	}
	m.up.WithLabelValues(key.provider, key.name).Set(value)
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descCertificates, descClouds, descWaits, descExpiry} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.session.Load()
	if s == nil {
		return
	}
	view := (*s).View()
	states, waits, first := make(map[fsmpb.CertificateState]int), make(map[string]int), int64(0)
	for c := range view.AllKubernetesClusters() {
		for row := range view.CertificatesOn(c.GetProvider(), c.GetMetadata().GetName()) {
			if row.GetRemoved() {
				continue
			}
			states[row.GetState()]++
			if row.GetCode() != "" {
				waits[row.GetCode()]++
			}
			if end := row.GetNotAfterWallMs(); end != 0 && (first == 0 || end < first) {
				first = end
			}
		}
	}
	tell := gauge.To(ch)
	for state, n := range states {
		tell(descCertificates, float64(n), stateWord(state))
	}
	for code, n := range waits {
		tell(descWaits, float64(n), code)
	}
	clouds := make(map[fsmpb.CloudState]int)
	for c := range view.AllClouds() {
		clouds[c.GetState()]++
	}
	for state, n := range clouds {
		tell(descClouds, float64(n), fsm.StateText(state))
	}
	if first != 0 {
		tell(descExpiry, float64(first)/float64(time.Second/time.Millisecond))
	}
}

// stateWord is a state of a certificate as metrics call it.
func stateWord(s fsmpb.CertificateState) string {
	switch s {
	case fsmpb.CertificateState_CERTIFICATE_STATE_WANTED:
		return "wanted"
	case fsmpb.CertificateState_CERTIFICATE_STATE_REQUESTED:
		return "requested"
	case fsmpb.CertificateState_CERTIFICATE_STATE_APPROVED:
		return "approved"
	case fsmpb.CertificateState_CERTIFICATE_STATE_ISSUED:
		return "issued"
	case fsmpb.CertificateState_CERTIFICATE_STATE_DENIED:
		return "denied"
	case fsmpb.CertificateState_CERTIFICATE_STATE_FAILED:
		return "failed"
	case fsmpb.CertificateState_CERTIFICATE_STATE_UNSPECIFIED:
	}
	return "unknown"
}
