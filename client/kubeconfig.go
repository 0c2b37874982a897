package client

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keysteward/keysteward/api/wire"
)

const (
	mediaYAML = "application/yaml"
	// holdKubeconfig is how long a server is asked to wait for certificates.
	holdKubeconfig = 20 * time.Second
	// kubeconfigPause is between two requests if a server names none.
	kubeconfigPause = time.Second
)

// Kubeconfig is the text of one, with a private key in it. It prints as "[redacted]".
type Kubeconfig []byte

// Format writes "[redacted]" whatever the verb.
func (Kubeconfig) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redaction) }

// LogValue returns "[redacted]" to log/slog.
func (Kubeconfig) LogValue() slog.Value { return slog.StringValue(redaction) }

// MarshalText returns "[redacted]" to text encoders, JSON among them.
func (Kubeconfig) MarshalText() ([]byte, error) { return []byte(redaction), nil }

// KubeconfigOptions say which kubeconfig is meant.
type KubeconfigOptions struct {
	Project, Cloud string
	// Reference names one cluster of the cloud; empty means all of them together.
	Reference string
	// Exec asks for one without private key, which has kubectl run "keysteward credential".
	Exec bool
	// Hold is how long a server holds the request while there is no certificate: 20 s
	// if zero, not at all if negative.
	Hold time.Duration
}

func (o KubeconfigOptions) call() (call, error) {
	names, path := cloudNames(o.Project, o.Cloud), cloudPath(o.Project, o.Cloud)
	if o.Reference != "" {
		names, path = append(names, named{"cluster reference", o.Reference}), path+"/cluster-references/"+o.Reference
	}
	if err := checkNames(names...); err != nil {
		return call{}, err
	}
	q := call{method: http.MethodGet, path: path + "/kubeconfig", query: url.Values{}, accept: mediaYAML + ", " + mediaJSON}
	if o.Exec {
		q.query.Set("exec", strconv.FormatBool(true))
	}
	if o.Hold == 0 {
		o.Hold = holdKubeconfig
	}
	if o.Hold > 0 {
		q.wait = o.Hold
		q.query.Set("wait", o.Hold.String())
	}
	return q, nil
}

func (o KubeconfigOptions) text() string {
	text := "kubeconfig of logical cloud " + o.Project + "/" + o.Cloud
	if o.Reference != "" {
		text += " for cluster " + o.Reference
	}
	return text
}

// Kubeconfig asks once for a kubeconfig. While there is no certificate the error is a
// KubeconfigPendingError with no Cause. A Problem of type wrong-state says that the
// cloud is not up, certificate-refused that Kubernetes gave no certificate.
func (c *Client) Kubeconfig(ctx context.Context, o KubeconfigOptions) (Kubeconfig, error) {
	text, _, err := c.kubeconfig(ctx, o)
	return text, err
}

func (c *Client) kubeconfig(ctx context.Context, o KubeconfigOptions) (Kubeconfig, time.Duration, error) {
	q, err := o.call()
	if err != nil {
		return nil, 0, err
	}
	r, err := c.do(ctx, q)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", o.text(), err)
	}
	if r.status == http.StatusAccepted {
		pending, err := decode[wire.PendingKubeconfig](r)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", o.text(), err)
		}
		return nil, retryAfter(r.header), &KubeconfigPendingError{Pending: pending, what: o.text()}
	}
	media, _, _ := mime.ParseMediaType(r.header.Get("Content-Type"))
	if media != mediaYAML || len(r.body) == 0 {
		return nil, 0, fmt.Errorf("%s: %w: status %d with %d bytes of %q", o.text(), ErrAnswer, r.status, len(r.body), media)
	}
	return r.body, 0, nil
}

// AwaitKubeconfig asks for a kubeconfig until there is one, and tells what it waits
// for. The error is a KubeconfigPendingError if ctx ended before.
func (c *Client) AwaitKubeconfig(ctx context.Context, o KubeconfigOptions, progress func(wire.PendingKubeconfig)) (Kubeconfig, error) {
	var last *KubeconfigPendingError
	for {
		text, pause, err := c.kubeconfig(ctx, o)
		if err == nil {
			return text, nil
		}
		if pending, ok := err.(*KubeconfigPendingError); ok { //nolint:errorlint // ours, and not wrapped
			last = pending
			if progress != nil {
				progress(last.Pending)
			}
			err = c.config.Clock.Sleep(ctx, max(pause, kubeconfigPause))
		}
		if err != nil && last != nil && ctx.Err() != nil {
			return nil, &KubeconfigPendingError{Pending: last.Pending, Cause: ctx.Err(), what: o.text()}
		}
		if err != nil {
			return nil, err
		}
	}
}

// KubeconfigPendingError says that there is no certificate yet. Asking again goes on
// where this ended.
type KubeconfigPendingError struct {
	// Pending is the last that was heard.
	Pending wire.PendingKubeconfig
	// Cause is the context's error if time ran out; nil if nobody waited.
	Cause error

	what string
}

// Error says what it waits for.
func (e *KubeconfigPendingError) Error() string {
	text := fmt.Sprintf("%s: it is not there yet: cluster %s waits for %s: %s", e.what, e.Pending.Reference, e.Pending.Step, e.Pending.Message)
	if e.Pending.Reason != "" && e.Pending.Reason != string(e.Pending.Step) {
		text += " (" + e.Pending.Reason + ")"
	}
	if e.Cause != nil {
		text += fmt.Sprintf(": %v", e.Cause)
	}
	return text
}

// Unwrap returns the context's error.
func (e *KubeconfigPendingError) Unwrap() error { return e.Cause }
