package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

// maxRetryAfter bounds what a server may ask us to wait.
const maxRetryAfter = time.Minute

// fatal marks an error that no other server and no repetition mends.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// trial is the history of one call.
type trial struct {
	q         call
	since     time.Time
	pause     time.Duration   // of the next backoff
	asked     time.Duration   // the shortest Retry-After of this round; 0 if none
	hopeless  map[string]bool // origins that will not do, however often asked
	uncertain bool            // some try may have been carried out
	last      error
}

// do asks the servers in turn, again and again, until one gives an answer that
// stands. The package comment says why every request may be repeated. The reply
// tells whether an earlier try may have been carried out, also beside an error.
func (c *Client) do(ctx context.Context, q call) (reply, error) {
	ctx = identified(ctx)
	t := &trial{q: q, since: c.config.Clock.Now(), pause: c.config.BackoffMin, hopeless: map[string]bool{}}
	for {
		r, done, err := c.round(ctx, t)
		r.uncertain = t.uncertain
		if done {
			return r, err
		}
		if tell := c.troubleOf(q); tell != nil {
			tell(t.last)
		}
		if err := c.backoff(ctx, t); err != nil {
			return r, err
		}
	}
}

// troubleOf is who is told of a round in vain.
func (c *Client) troubleOf(q call) func(error) {
	if q.trouble != nil {
		return q.trouble
	}
	return c.config.Trouble
}

// round asks every server once. Done means that asking more is of no use.
func (c *Client) round(ctx context.Context, t *trial) (r reply, done bool, err error) {
	t.asked = 0
	for _, server := range c.candidates() {
		if t.hopeless[origin(server)] {
			continue
		}
		r, err := c.attempt(ctx, server, t.q)
		if err == nil {
			c.led(r.from)
			return r, true, nil
		}
		if t.note(origin(server), r, err) {
			return r, true, t.last
		}
		if t.uncertain && t.q.once {
			return r, true, t.verdict(t.last)
		}
		c.led(nil)
		if ctx.Err() != nil {
			return r, true, t.ended(ctx.Err())
		}
		c.config.Logger.DebugContext(ctx, "try again", "method", t.q.method, "path", t.q.path, "reason", err.Error())
	}
	return r, t.allHopeless(c), t.verdict(t.last)
}

// allHopeless tells whether no server is left to ask.
func (t *trial) allHopeless(c *Client) bool {
	for _, server := range c.candidates() {
		if !t.hopeless[origin(server)] {
			return false
		}
	}
	return true
}

// note files a failed try and tells whether its error stands.
func (t *trial) note(server string, r reply, err error) (stands bool) {
	t.last = err
	if f, ok := errors.AsType[fatal](err); ok {
		t.last = f.error
		return true
	}
	if p, ok := errors.AsType[*Problem](err); ok {
		if !passing(p.Status) {
			return true
		}
		t.uncertain = t.uncertain || p.Type == TypeOutcomeUnknown && t.q.method != http.MethodGet
		if wait := retryAfter(r.header); wait > 0 && (t.asked == 0 || wait < t.asked) {
			t.asked = wait
		}
	} else if t.q.method != http.MethodGet && !neverSent(err) {
		t.uncertain = true
	}
	if isHopeless(err) {
		t.hopeless[server] = true
	}
	return false
}

// backoff pauses before the next round, or ends the call.
func (c *Client) backoff(ctx context.Context, t *trial) error {
	pause := max(t.asked, t.pause/2+rand.N(t.pause/2+1)) //nolint:gosec // jitter is no secret
	t.pause = min(2*t.pause, c.config.BackoffMax)
	limit := c.config.RetryFor
	if !t.q.patient && limit > 0 && c.config.Clock.Now().Add(pause).After(t.since.Add(limit)) {
		return t.ended(nil)
	}
	if deadline, ok := ctx.Deadline(); ok && c.config.Clock.Now().Add(pause).After(deadline) && !t.q.patient {
		return t.ended(context.DeadlineExceeded)
	}
	if err := c.config.Clock.Sleep(ctx, pause); err != nil {
		return t.ended(err)
	}
	return nil
}

// ended is the error of a call that ran out of time; cause is the context's error.
func (t *trial) ended(cause error) error {
	switch {
	case errors.Is(cause, context.Canceled):
		return t.verdict(cause)
	case cause != nil:
		return t.verdict(fmt.Errorf("%w in time: %w: %w", ErrUnavailable, t.last, cause))
	default:
		return t.verdict(fmt.Errorf("%w: %w", ErrUnavailable, t.last))
	}
}

func (t *trial) verdict(err error) error {
	switch {
	case !t.uncertain:
		return err
	case t.q.once:
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	default:
		return fmt.Errorf("%w; repeating the request is safe: %w", ErrOutcomeUnknown, err)
	}
}

// passing tells whether a status may be another one soon.
func passing(status int) bool {
	switch status {
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		return true
	default:
		return false
	}
}

// neverSent tells whether a request surely did not reach a server: the connection
// was not made, or a redirect was not followed.
func neverSent(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	return errors.Is(err, errLoop) || isHopeless(err) && !errors.Is(err, ErrAnswer)
}

// isHopeless tells whether a server will not do however often it is asked: it is
// not who it should be, speaks another protocol, or sends us astray.
func isHopeless(err error) bool {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	op, ok := errors.AsType[*net.OpError](err)
	alert := ok && op.Op == "remote error" // such as a protocol version below TLS 1.3
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	return untrusted || alert || noTLS || errors.Is(err, ErrRedirect) || errors.Is(err, ErrAnswer)
}

// retryAfter reads the header's seconds; 0 if there are none.
func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.ParseUint(header.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetryAfter)
}
