package beacon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// ErrConfig is wrapped by errors about a configuration that can not be used.
var ErrConfig = errors.New("invalid configuration of the beacon node")

// Epoch is the time of an epoch of the public networks: before it is over,
// nothing can have become final.
const Epoch = 32 * 12 * time.Second

const (
	defaultBatch   = 500
	defaultTimeout = 30 * time.Second
)

// Config says which beacon node is asked, and how often.
type Config struct {
	// URL of the Beacon API. Its path and what may be secret in it are never logged.
	URL string
	// Network that the beacon node has to be of.
	Network validator.Network
	// Every is the time between the beginnings of two sweeps; an Epoch if zero.
	Every time.Duration
	// Batch is how many keys go into one question; 500 if zero.
	Batch int
	// Timeout bounds one question; 30 s if zero.
	Timeout time.Duration
	// HTTP sends the questions; one of its own if nil.
	HTTP *http.Client
	// Logger and Metrics are optional.
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Session is the leadership in which the duty runs.
type Session interface {
	// View returns the applied state.
	View() *fsm.View
	// Propose has the command decided. The error wraps a *fsm.Refusal where the
	// state machine refused; any other means that the outcome is unknown or that
	// the session is over.
	Propose(ctx context.Context, cmd *fsmpb.Command) (any, error)
}

// Check reports what is wrong with the configuration; the error wraps ErrConfig.
func (c Config) Check() error {
	u, err := url.Parse(c.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%w: want http://HOST:PORT or https://HOST:PORT, with a path if need be", ErrConfig)
	}
	if c.Network.ChainID == 0 {
		return fmt.Errorf("%w: the network is not known", ErrConfig)
	}
	if c.Every < 0 || c.Batch < 0 || c.Timeout < 0 {
		return fmt.Errorf("%w: negative times or batches", ErrConfig)
	}
	return nil
}

func (c Config) complete() Config {
	c.URL = strings.TrimRight(c.URL, "/")
	if c.Every == 0 {
		c.Every = Epoch
	}
	if c.Batch == 0 {
		c.Batch = defaultBatch
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.HTTP == nil {
		c.HTTP = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: 2 * Epoch}}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	return c
}
