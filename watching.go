package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/pflag"

	"github.com/keysteward/keysteward/node/tracing"
)

// watchOptions are the flags about what an operator can see.
type watchOptions struct {
	requests   string
	level      slog.Level // of requests, once checked
	otlp       string
	contention bool
}

func (o *watchOptions) bind(f *pflag.FlagSet) {
	f.StringVar(&o.requests, "log-requests", "debug", "level at which each request and each command of it has a line in the log: debug or info")
	f.StringVar(&o.otlp, "otlp-endpoint", "", "receiver of traces (OTLP over HTTP), such as http://127.0.0.1:4318; the variables OTEL_… of OpenTelemetry are heeded, too (default: none, and no traces are made)")
	f.BoolVar(&o.contention, "profile-contention", false, "measure where goroutines wait for each other, for the profiles block and mutex of /debug/pprof/; it costs some time")
}

func (o *watchOptions) check() error {
	switch strings.ToLower(o.requests) {
	case "debug":
		o.level = slog.LevelDebug
	case "info":
		o.level = slog.LevelInfo
	default:
		return fmt.Errorf("--log-requests %q: want debug or info", o.requests)
	}
	return nil
}

// contentionFraction of what waits for a mutex is told, and of other waits one for so many
// nanoseconds of waiting.
const (
	contentionFraction = 100
	contentionRate     = int(100 * time.Microsecond)
)

// begin begins what is to be seen of the process. Nothing is sent yet.
func (o *watchOptions) begin(ctx context.Context, name string, log *slog.Logger) (*tracing.Tracing, error) {
	if o.contention {
		runtime.SetMutexProfileFraction(contentionFraction)
		runtime.SetBlockProfileRate(contentionRate)
	}
	t, err := tracing.New(ctx, tracing.Config{Endpoint: o.otlp, Version: version, Node: name, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("--otlp-endpoint: %w", err)
	}
	return t, nil
}

// registry has the metrics of the process and of what was opened first.
func (p *parts) registry() (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	err := errors.Join(r.Register(p.link), r.Register(p.node.Disk()), r.Register(p.node.Metrics()),
		p.certificates.register(r), p.vault.Register(r), p.tracing.Register(r))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return r, nil
}

// flushTimeout bounds how long the last spans may take when the process ends.
const flushTimeout = 3 * time.Second

// closeTracing sends the last spans; that a receiver is away keeps nobody from stopping.
func (p *parts) closeTracing(ctx context.Context) {
	if p.tracing == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := p.tracing.Stop(ctx); err != nil {
		p.log.Warn("the last spans of traces were not sent", "error", err)
	}
}
