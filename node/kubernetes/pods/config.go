package pods

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/keysteward/keysteward/fsm"
)

// ErrConfig is wrapped by errors about a [Config].
var ErrConfig = errors.New("no usable configuration of the pods' watcher")

// Config is what a [Watcher] and its [Duty] need. Kubernetes and View must be given.
type Config struct {
	// Kubernetes says how to reach the one Kubernetes that testifies.
	Kubernetes *rest.Config
	// View returns the applied state of this node; pods that it names are remembered.
	View func() *fsm.View
	// Namespaces whose pods are followed; all of them by default.
	Namespaces []string
	// Node is the ID of this node, by which proofs and Events are signed.
	Node string
	// RestAfterProof is how much cluster time keys go on resting after the proof.
	RestAfterProof time.Duration
	// Logger is where it tells; nowhere by default.
	Logger *slog.Logger
	// Metrics is where it registers its metrics; a registry of its own by default.
	Metrics prometheus.Registerer
	// RetryMin and RetryMax bound the pause after a failure; 0.2 and 15 seconds by default.
	RetryMin, RetryMax time.Duration

	// wrap lets tests stand between the watcher and Kubernetes.
	wrap func(http.RoundTripper) http.RoundTripper
	// now is the clock of what is remembered.
	now func() time.Time
	// lagging is how long a pod may be missing from what was listed and yet be there: a
	// watch is a little behind. relistPause is the least time between two lists because of
	// pods that are missing for longer.
	lagging, relistPause time.Duration
	// withdrawAfter is how long a pod is gone before its request is taken back.
	withdrawAfter time.Duration
}

// complete fills in the defaults.
func (c Config) complete() (Config, error) {
	switch {
	case c.Kubernetes == nil:
		return c, errors.Join(ErrConfig, errors.New("it names no Kubernetes"))
	case c.View == nil:
		return c, errors.Join(ErrConfig, errors.New("it has no view of the state"))
	case c.RestAfterProof < 0:
		return c, errors.Join(ErrConfig, errors.New("the rest after the proof is negative"))
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.RetryMin <= 0 {
		c.RetryMin = 200 * time.Millisecond
	}
	if c.RetryMax <= 0 {
		c.RetryMax = 15 * time.Second
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.lagging <= 0 {
		c.lagging = 3 * time.Second
	}
	if c.relistPause <= 0 {
		c.relistPause = 30 * time.Second
	}
	if c.withdrawAfter <= 0 {
		c.withdrawAfter = time.Minute
	}
	c.Namespaces = slices.Compact(slices.Sorted(slices.Values(c.Namespaces)))
	return c, nil
}
