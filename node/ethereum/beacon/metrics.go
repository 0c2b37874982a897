package beacon

import (
	"fmt"
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics shows what the sweeps see. Only a node whose duty runs exports values.
type metrics struct {
	up         *prometheus.GaugeVec
	trouble    *prometheus.GaugeVec
	validators *prometheus.GaugeVec
	sweeps     *prometheus.HistogramVec
	counting   map[string]int // validators of this sweep by status
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "keysteward", Name: "beacon_node_up",
			Help: "1 if the last sweep could look at every validator.",
		}, nil),
		trouble: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "keysteward", Name: "beacon_node_trouble",
			Help: "1 with the code of what kept the last sweep from looking at every validator: " +
				"foreign, syncing, not-final, refused, cluster, unreachable.",
		}, []string{"code"}),
		validators: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "keysteward", Name: "validators",
			Help: "Validators of the cluster's keys by status of the beacon chain, as of the last sweep.",
		}, []string{"status"}),
		sweeps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "keysteward", Name: "beacon_sweep_duration_seconds",
			Help: "Duration of the sweeps over all validators.", Buckets: prometheus.ExponentialBuckets(0.01, 4, 9),
		}, []string{"result"}),
		counting: make(map[string]int),
	}
	for _, c := range []prometheus.Collector{m.up, m.trouble, m.validators, m.sweeps} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register beacon metrics: %w", err)
		}
	}
	return m, nil
}

// reset takes back what only the leader knows.
func (m *metrics) reset() {
	m.up.Reset()
	m.trouble.Reset()
	m.validators.Reset()
	clear(m.counting)
}

// mostStatuses bounds the label's values: statuses are whatever a server says.
const mostStatuses = 32

func (m *metrics) count(status string) {
	if _, known := m.counting[status]; known || len(m.counting) < mostStatuses {
		m.counting[status]++
	}
}

// swept closes a sweep's account; whole says that it came to the last key. What
// was counted by one that did not counts for the next.
func (m *metrics) swept(err error, took time.Duration, whole bool) {
	result, up := "done", 1.0
	if err != nil {
		result, up = "incomplete", 0
	}
	m.up.WithLabelValues().Set(up)
	m.trouble.Reset()
	if err != nil {
		m.trouble.WithLabelValues(codeOf(err)).Set(1)
	}
	m.sweeps.WithLabelValues(result).Observe(took.Seconds())
	if !whole {
		return
	}
	if err == nil {
		m.validators.Reset()
		for status, n := range maps.All(m.counting) {
			m.validators.WithLabelValues(status).Set(float64(n))
		}
	}
	clear(m.counting)
}
