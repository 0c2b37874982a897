package auditlog

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	written prometheus.Counter
	errors  prometheus.Counter
}

func newMetrics() *metrics {
	count := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "keysteward", Subsystem: "audit_file", Name: name, Help: help})
	}
	return &metrics{
		written: count("records_total", "Audit records that this process has written to the file."),
		errors:  count("errors_total", "Failed tries to write audit records to the file."),
	}
}

func (m *metrics) collectors(s *Shipper) []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "keysteward", Subsystem: "audit_file", Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		m.written, m.errors,
		gauge("last_seq", "Sequence number of the last audit record in the file.", func() float64 { return float64(s.last.Load().Seq) }),
		gauge("lag_records", "Audit records that are applied here and not in the file.", func() float64 { return float64(s.Lag()) }),
		gauge("failing", "1 while audit records can not be written to the file.", func() float64 {
			if s.trouble.Load() != nil {
				return 1
			}
			return 0
		}),
	}
}
