package pki

import (
	"crypto/x509"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/node/gauge"
)

var (
	descNotAfter = prometheus.NewDesc("keysteward_tls_certificate_expiry_timestamp_seconds",
		"Unix time in seconds at which a certificate in use ends; kind is own or authority.", []string{"port", "kind", "subject", "serial"}, nil)
	descUsable = prometheus.NewDesc("keysteward_tls_certificates_valid",
		"1 while the certificates of the port are valid by this machine's clock.", []string{"port"}, nil)
	descFailing = prometheus.NewDesc("keysteward_tls_reload_failing",
		"1 while the files can not be used and those of before are.", []string{"port"}, nil)
	descReloads = prometheus.NewDesc("keysteward_tls_reloads_total",
		"How often certificates were replaced while the node ran.", []string{"port"}, nil)
)

// Describe implements prometheus.Collector.
func (*Source) Describe(chan<- *prometheus.Desc) {
	// None, so that a registry takes several sources of different ports.
}

// Collect implements prometheus.Collector.
func (s *Source) Collect(ch chan<- prometheus.Metric) {
	m := s.current.Load()
	s.mu.Lock()
	failing, reloads := s.failure != nil, s.reloads
	s.mu.Unlock()
	_, usable := s.State()
	tell := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{s.cfg.Port}, labels...)...)
	}
	told := make(map[string]bool) // a bundle may hold a certificate twice
	for kind, list := range map[string][]*x509.Certificate{"own": m.chain, "authority": m.authorities} {
		for _, c := range list {
			if id := kind + string(c.Raw); !told[id] {
				told[id] = true
				tell(descNotAfter, float64(c.NotAfter.Unix()), kind, c.Subject.String(), c.SerialNumber.Text(16))
			}
		}
	}
	tell(descUsable, gauge.OneIf(usable))
	tell(descFailing, gauge.OneIf(failing))
	ch <- prometheus.MustNewConstMetric(descReloads, prometheus.CounterValue, float64(reloads), s.cfg.Port)
}
