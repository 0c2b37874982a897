package clouds

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/tracing"
)

// ErrConfig is wrapped by errors about a [Config].
var ErrConfig = errors.New("no usable configuration of the duty of logical clouds")

// Config is what the duty needs. Only Secrets must be given.
type Config struct {
	// Secrets opens and seals.
	Secrets *Secrets
	// Logger is where it tells; nowhere by default.
	Logger *slog.Logger
	// Metrics is where it registers its metrics; a registry of its own by default.
	Metrics prometheus.Registerer
	// Tracer makes spans of what is done in Kubernetes; nil makes none.
	Tracer trace.Tracer
	// Origins know the requests for which it is done; nil knows none.
	Origins *tracing.Origins
	// Now is the clock of certificates; failpoint.Now by default.
	Now func() time.Time
	// SweepEvery is the time between two looks for what does not belong in a cluster;
	// 5 minutes by default, more or less by a quarter.
	SweepEvery time.Duration
	// StuckAfter is how long the removal of a cloud is tried before it is said to be
	// stuck; 60 seconds by default.
	StuckAfter time.Duration
	// SilentAfter is how long a signer may take before it is said to be silent; 10
	// seconds by default.
	SilentAfter time.Duration
	// RetryMin and RetryMax bound the pause after a failure; 0.5 and 60 seconds by default.
	RetryMin, RetryMax time.Duration

	// wrap lets tests stand between the duty and Kubernetes.
	wrap func(http.RoundTripper) http.RoundTripper
}

// complete fills in the defaults.
func (c Config) complete() (Config, error) {
	if c.Secrets == nil {
		return c, errors.Join(ErrConfig, errors.New("it has no secrets"))
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Now == nil {
		c.Now = failpoint.Now
	}
	for value, standard := range map[*time.Duration]time.Duration{
		&c.SweepEvery: 5 * time.Minute, &c.StuckAfter: time.Minute, &c.SilentAfter: 10 * time.Second, &c.RetryMin: 500 * time.Millisecond, &c.RetryMax: time.Minute,
	} {
		if *value <= 0 {
			*value = standard
		}
	}
	return c, nil
}
