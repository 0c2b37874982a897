package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config says where spans go.
type Config struct {
	// Endpoint is the base URL of a receiver of OTLP over HTTP; empty leaves it to the variables
	// OTEL_EXPORTER_OTLP_…, and without them no spans are made.
	Endpoint string
	// Version of the program and Node, the name of this one, tell processes apart.
	Version, Node string
	Logger        *slog.Logger
	// Env reads variables; nil is os.Getenv. Those of sampler, batches and resource are read by the SDK.
	Env func(string) string
}

// Tracing makes spans and sends them; the zero value makes none.
type Tracing struct {
	provider *sdktrace.TracerProvider
	exporter *exporter
}

// New returns a Tracing that sends nothing yet, and makes no spans unless it was told where to
// send them. Its errors wrap [ErrConfig].
func New(ctx context.Context, cfg Config) (*Tracing, error) {
	if cfg.Env == nil {
		cfg.Env = os.Getenv
	}
	s, err := readSettings(cfg.Endpoint, cfg.Env)
	if s == nil || err != nil {
		return &Tracing{}, err
	}
	e, err := newExporter(s, cfg.Logger)
	if err != nil {
		return nil, err
	}
	described, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "keysteward"), attribute.String("service.version", cfg.Version),
		attribute.String("service.instance.id", cfg.Node),
	), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("%w: OTEL_RESOURCE_ATTRIBUTES: %w", ErrConfig, err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(e), sdktrace.WithResource(described))
	return &Tracing{provider: provider, exporter: e}, nil
}

// Tracer makes spans; nil where none are to be made.
func (t *Tracing) Tracer() trace.Tracer {
	if t.provider == nil {
		return nil
	}
	return t.provider.Tracer("github.com/keysteward/keysteward")
}

// Register has the number of spans shown, where any are made.
func (t *Tracing) Register(r prometheus.Registerer) error {
	if t.exporter == nil {
		return nil
	}
	if err := r.Register(t.exporter.spans); err != nil {
		return fmt.Errorf("register metrics of tracing: %w", err)
	}
	return nil
}

// Stop sends what is left, as long as the context lasts, and ends.
func (t *Tracing) Stop(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last spans: %w", err)
	}
	return nil
}
