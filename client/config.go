package client

import (
	"context"
	"log/slog"
	"time"
)

// Config says where the cluster is and how patient to be. Servers is required;
// the zero value of everything else is usable.
type Config struct {
	// Servers are base URLs of some members, such as https://node-1:8443; the
	// others are learned from them. http is accepted for loopback only.
	Servers []string
	// Token is the bearer token. At most one of Token and TokenFile is set; with
	// neither only what is public can be asked.
	Token Token
	// TokenFile holds the bearer token. It is read for every request, because
	// projected tokens are replaced while the process runs.
	TokenFile string
	// CAFile holds the PEM certificates of the authorities that vouch for members;
	// the system's if empty.
	CAFile string
	// CertFile and KeyFile hold a certificate, with what is between it and its
	// authority, and its private key, PEM: the caller proves by them who it is. They
	// are read for every connection, because short-lived ones are replaced. All
	// Servers must be https then.
	CertFile, KeyFile string
	// DialTimeout bounds making a connection with its TLS handshake: 3 s if zero.
	DialTimeout time.Duration
	// RequestTimeout bounds one request to one server, beyond the time for which
	// the server was asked to hold it: 10 s if zero.
	RequestTimeout time.Duration
	// RetryFor bounds a call with all its repetitions: 30 s if zero; negative means
	// until the context ends.
	RetryFor time.Duration
	// BackoffMin and BackoffMax bound the pause after all servers were tried in
	// vain, which doubles each time: 100 ms and 5 s if zero.
	BackoffMin, BackoffMax time.Duration
	// Logger is told of retries and redirects; nothing is logged if nil.
	Logger *slog.Logger
	// Trouble is told why a call goes on: what the last server said, after each round of
	// all of them in vain. It may be called by several calls at once; nil tells nobody.
	Trouble func(error)
	// Clock is the system's if nil.
	Clock Clock
	// UserAgent is sent to servers: "keysteward" if empty.
	UserAgent string
}

// Clock is time as a client needs it.
type Clock interface {
	// Now returns the time.
	Now() time.Time
	// Sleep returns nil after d, or the context's error when that ends first.
	Sleep(ctx context.Context, d time.Duration) error
}

func (c Config) complete() Config {
	orElse := func(value *time.Duration, standard time.Duration) {
		if *value == 0 {
			*value = standard
		}
	}
	orElse(&c.DialTimeout, 3*time.Second)
	orElse(&c.RequestTimeout, 10*time.Second)
	orElse(&c.RetryFor, 30*time.Second)
	orElse(&c.BackoffMin, 100*time.Millisecond)
	orElse(&c.BackoffMax, 5*time.Second)
	c.BackoffMax = max(c.BackoffMax, c.BackoffMin)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
	if c.UserAgent == "" {
		c.UserAgent = "keysteward"
	}
	return c
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
