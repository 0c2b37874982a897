package main

import (
	"slices"
	"time"
)

// rate makes a figure of operations per second from each operation's latency.
func rate(name, unit string, latencies []time.Duration, elapsed time.Duration) figure {
	return figure{
		Name: name, Unit: unit, Value: float64(len(latencies)) / elapsed.Seconds(),
		P50ms: quantile(latencies, 0.5), P99ms: quantile(latencies, 0.99), Runs: len(latencies),
	}
}

// median makes a figure of seconds from a few runs.
func median(name string, runs []time.Duration) figure {
	return figure{Name: name, Unit: "s", Value: quantile(runs, 0.5) / 1000, Runs: len(runs)}
}

// latency makes a figure of how long each of some operations took.
func latency(name string, runs []time.Duration) figure {
	p50 := quantile(runs, 0.5)
	return figure{Name: name, Unit: "ms", Value: p50, P50ms: p50, P99ms: quantile(runs, 0.99), Runs: len(runs)}
}

// extreme names the fastest (0) or slowest (1) run.
func extreme(name string, runs []time.Duration, q float64) figure {
	return figure{Name: name, Unit: "s", Value: quantile(runs, q) / 1000, Runs: len(runs)}
}

// quantile in milliseconds; 0 without values.
func quantile(values []time.Duration, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return float64(sorted[int(q*float64(len(sorted)-1))].Microseconds()) / 1000
}
