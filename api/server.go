package api

import (
	"context"
	"crypto/hpke"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/backup/restoring"
	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

// Who besides an operator can testify that a pod is gone ([Config].Witness).
const (
	// WitnessNone: nobody can, so a release by the caller is taken as proof.
	WitnessNone = "none"
	// WitnessOperator: a released key rests until an operator confirms.
	WitnessOperator = "operator"
	// WitnessKubernetes: it rests until Kubernetes showed the pod's end, or an
	// operator confirms it.
	WitnessKubernetes = "kubernetes"
)

// Defaults of [Config].
const (
	DefaultMaxKeysPerPod = 1000
	DefaultMaxHeld       = 10_000
)

// ErrConfig is wrapped by every error of [New].
var ErrConfig = errors.New("invalid configuration of the API")

// Config is what a [Server] is made of.
type Config struct {
	Node   Node
	Vault  Vault
	Seal   Seal
	Clouds Clouds
	// Members are those of the cluster; nil lets nobody change them.
	Members Members
	// Tokens are those of the server's file; nil is none.
	Tokens *Tokens
	// Certificates gives client certificates their callers; nil goes by the
	// organization.
	Certificates *CertificateRoles
	// PodTokens checks the tokens of pods; nil lets no pod in.
	PodTokens PodTokens
	// Pods says which pods may ask for keys; required with PodTokens.
	Pods PodRules
	// AllowedNamespaces are those whose pods may ask for keys, whatever Pods says; none
	// means all.
	AllowedNamespaces []string
	// PodRefused hears of pods that Kubernetes vouches for and that may not ask for keys,
	// and why; it must not block. Nil hears nothing.
	PodRefused func(pod podtoken.Pod, why string)
	// RateLimit is how many requests per second one caller may make, in bursts of
	// four seconds' worth; 0 is no limit.
	RateLimit int
	// AssignmentsPublic shows /assignments to everybody.
	AssignmentsPublic bool
	// MaxKeysPerPod bounds what one pod may ask for; 0 is [DefaultMaxKeysPerPod].
	MaxKeysPerPod int
	// MaxHeld bounds the requests held by ?wait at any time; 0 is [DefaultMaxHeld].
	MaxHeld int
	// MaxConnections bounds the connections that are open at any time; 0 is
	// [DefaultMaxConnections].
	MaxConnections int
	// PoolOnly refuses requests that the pool can not fill whole, because no new
	// deposits are made.
	PoolOnly bool
	// Witness is [WitnessNone], [WitnessOperator] or [WitnessKubernetes].
	Witness string
	// DepositEvents tells how far this node has read DepositEvents; nil where it does not.
	DepositEvents func() wire.DepositEvents
	// Restorer restores backups; nil refuses to.
	Restorer *restoring.Restorer
	// Backups tells how the scheduled backups are doing; nil where there are none.
	Backups BackupSchedule
	// Notes are lines that /readyz shows besides the node's; none makes it not ready.
	Notes func() []node.Check
	// RestAfterProof is how much cluster time a key goes on resting after the
	// proof that its holder is gone.
	RestAfterProof time.Duration
	// LeaseDuration is how long the lease of a pod's keys lasts in cluster time; 0 is
	// no leases.
	LeaseDuration time.Duration
	// Chain is the beacon chain; nil gives no watermarks for slashing protection.
	Chain  *Chain
	Logger *slog.Logger
	// RequestLevel is that of the line which the log has for each request; those of probes and
	// scrapers are for debugging at most.
	RequestLevel slog.Level
	// Tracer makes spans of requests; nil makes none.
	Tracer trace.Tracer
	// Registry receives the metrics of this package and is what /metrics shows.
	Registry *prometheus.Registry
	// Version of the program, for the metrics.
	Version string
}

// Server answers HTTP requests. It is stopped once: when the first Serve ends,
// requests that are held elsewhere wake up too.
type Server struct {
	cfg     Config
	node    Node
	vault   Vault
	log     *slog.Logger
	echo    *echo.Echo
	metrics *metrics
	holds   *holds
	// connections are bounded over all listeners.
	connections *connections
	// refused bounds how often refused callers are logged.
	refused *rate.Limiter
	// unlogged counts those that were refused and not logged since the last that was.
	unlogged atomic.Int64
	// pace bounds the requests of each caller, nil if nothing does; logins bounds
	// wrong tokens, repeats what the same pod is given again.
	pace    *buckets
	logins  *logins
	repeats *buckets
	// disclosures bounds how often the same kubeconfig is given to the same caller.
	disclosures *buckets
	// guarded has room for one change whose permission depends on the state, until it
	// is made.
	guarded chan struct{}
	// snapshots has room for the backups that are being sent.
	snapshots chan struct{}
	// profiling has room for one profile that takes its time.
	profiling chan struct{}
	// To the seed key the first seed is sealed; it lives as long as the process.
	seedKey       hpke.PrivateKey
	seedRecipient wire.Recipient
	// stopping is done when the server shuts down.
	stopping context.Context //nolint:containedctx // the life of the server, not of a call
	stop     context.CancelFunc
}

// New makes a server; its errors wrap [ErrConfig].
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.complete()
	key, recipient, err := wire.NewRecipient(wire.KEMMLKEM768X25519)
	if err != nil {
		return nil, fmt.Errorf("key for the seed: %w", err)
	}
	s := &Server{
		cfg: cfg, node: cfg.Node, vault: cfg.Vault, log: cfg.Logger,
		holds: &holds{node: cfg.Node, limit: cfg.MaxHeld}, connections: newConnections(cfg.MaxConnections),
		refused: rate.NewLimiter(rate.Every(time.Second), 10),
		logins:  newLogins(), repeats: newBuckets(repeatsPerSecond, repeatsBurst),
		disclosures: newBuckets(disclosuresPerSecond, disclosuresBurst), guarded: make(chan struct{}, 1), profiling: make(chan struct{}, 1),
		snapshots: make(chan struct{}, maxSnapshots),
		seedKey:   key, seedRecipient: recipient,
	}
	if n := cfg.RateLimit; n > 0 {
		s.pace = newBuckets(float64(n), rateBurst*n)
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	if s.metrics, err = newMetrics(s); err != nil {
		return nil, fmt.Errorf("%w: metrics: %w", ErrConfig, err)
	}
	s.echo = s.router()
	return s, nil
}

// ends reports whether nothing is held any more, because the server shuts down.
func (s *Server) ends() bool { return s.stopping.Err() != nil }

// Handler serves every route; [Server.Serve] is for real connections.
func (s *Server) Handler() http.Handler { return s.echo }

// checkLeases finds what can not be of leases and watermarks.
func (c *Config) checkLeases() error {
	switch {
	case c.LeaseDuration < 0 || c.LeaseDuration%time.Millisecond != 0:
		return fmt.Errorf("%w: a lease of %v", ErrConfig, c.LeaseDuration)
	case c.Chain != nil && (c.Chain.SecondsPerSlot < 1 || c.Chain.SlotsPerEpoch < 1):
		return fmt.Errorf("%w: a chain without slots", ErrConfig)
	}
	return nil
}

// check finds what can not be, and what is missing and has no default.
func (c *Config) check() error {
	switch {
	case c.Node == nil, c.Vault == nil, c.Seal == nil, c.Clouds == nil:
		return fmt.Errorf("%w: node, vault, seal and clouds are required", ErrConfig)
	case c.PodTokens != nil && len(c.Pods) == 0:
		return fmt.Errorf("%w: pods' tokens need a list of the pods that may ask for keys", ErrConfig)
	case c.Witness != WitnessNone && c.Witness != WitnessOperator && c.Witness != WitnessKubernetes:
		return fmt.Errorf("%w: witness %q: want %q, %q or %q", ErrConfig, c.Witness, WitnessNone, WitnessOperator, WitnessKubernetes)
	case c.RestAfterProof < 0:
		return fmt.Errorf("%w: rest after proof of %s is negative", ErrConfig, c.RestAfterProof)
	case c.RateLimit < 0:
		return fmt.Errorf("%w: rate limit of %d requests per second", ErrConfig, c.RateLimit)
	case c.MaxKeysPerPod < 0 || c.MaxKeysPerPod > fsm.MaxKeysPerPod:
		return fmt.Errorf("%w: %d keys per pod: want at most %d", ErrConfig, c.MaxKeysPerPod, fsm.MaxKeysPerPod)
	}
	return c.checkLeases()
}

// complete fills in the defaults.
func (c *Config) complete() {
	if c.MaxKeysPerPod == 0 {
		c.MaxKeysPerPod = DefaultMaxKeysPerPod
	}
	if c.MaxConnections <= 0 {
		c.MaxConnections = DefaultMaxConnections
	}
	if c.MaxHeld == 0 {
		c.MaxHeld = DefaultMaxHeld
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Notes == nil {
		c.Notes = func() []node.Check { return nil }
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
}
