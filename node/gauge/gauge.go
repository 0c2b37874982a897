// Package gauge makes metrics that are read at the moment of a scrape. It brings nothing
// of ours along.
package gauge

import "github.com/prometheus/client_golang/prometheus"

// Desc describes the metric keysteward_NAME.
func Desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("keysteward_"+name, help, labels, nil)
}

// Tell tells the value of a gauge, with the values of its labels in their order.
type Tell func(d *prometheus.Desc, value float64, labels ...string)

// To tells a collector's channel. It panics if the labels are not those of the description.
func To(ch chan<- prometheus.Metric) Tell {
	return func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
}

// OneIf is 1 for true and 0 for false.
func OneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
