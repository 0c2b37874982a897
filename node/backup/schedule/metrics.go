package schedule

import (
	"fmt"
	"io"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	last, size, every prometheus.Gauge
	failures          *prometheus.CounterVec
}

func newMetrics() *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		last:  gauge("keysteward_backup_last_success_timestamp_seconds", "When the newest scheduled backup was made that this node knows of, in Unix seconds; 0 if it knows of none. Only leaders look."),
		size:  gauge("keysteward_backup_size_bytes", "Size of that backup."),
		every: gauge("keysteward_backup_interval_seconds", "Time between two scheduled backups."),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keysteward_backup_failures_total", Help: "Scheduled backups that failed, and old ones that could not be removed, by reason.",
		}, []string{"reason"}),
	}
	for _, r := range reasons {
		m.failures.WithLabelValues(r)
	}
	return m
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{m.last, m.size, m.every, m.failures} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("metrics of the backups: %w", err)
		}
	}
	return nil
}

// counter counts what is read.
type counter struct {
	in io.Reader
	n  int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.n += int64(n)
	return n, err //nolint:wrapcheck // as io.Reader promises it
}
