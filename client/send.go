package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	// maxAnswer bounds an ordinary answer: a page of 10,000 keys, or the secrets of
	// 1,000, have a few megabytes.
	maxAnswer = 16 << 20
	// maxList bounds an answer that has no pages: 100,000 assignments have 10 MB.
	maxList = 256 << 20

	mediaJSON = "application/json"
)

// call is one request, whoever answers it.
type call struct {
	method string
	path   string // with its segments escaped
	query  url.Values
	body   []byte
	wait   time.Duration // for which the server was asked to hold the request
	limit  int64         // of the answer in bytes; maxAnswer if zero
	// patient calls go on until the context ends, and tell of each round in vain.
	patient bool
	trouble func(error)
	// accepts another status than 2xx as an answer
	accepts func(status int) bool
	// contentType is of the body, and accept what may be answered: JSON if empty.
	contentType, accept string
	// idempotencyKey lets a server know a repeated creation again.
	idempotencyKey string
	// once gives the call up when a try may have been carried out.
	once bool
	// stream is what is too large for body and answer; nil is nothing.
	stream *stream
}

// reply is an answer that was read whole.
type reply struct {
	status int
	header http.Header
	body   []byte
	from   *url.URL // the base URL of the server that answered
	// uncertain says that an earlier try may have been carried out.
	uncertain bool
}

// errNoAnswer stands for a request that ran into its own time limit, so that it is
// not mistaken for the end of the caller's context.
var errNoAnswer = errors.New("no answer in time")

// send sends a request to a URL that was found to be a member's, and reads the answer.
func (c *Client) send(ctx context.Context, target *url.URL, q call) (reply, error) {
	if q.stream != nil {
		return c.sendStream(ctx, target, q)
	}
	limited, cancel := context.WithTimeoutCause(ctx, c.config.RequestTimeout+q.wait, errNoAnswer)
	defer cancel()
	request, err := c.request(limited, target, q)
	if err != nil {
		return reply{}, err
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return reply{}, sendError(ctx, limited, target, err)
	}
	defer func() { _ = response.Body.Close() }()
	limit := q.limit
	if limit == 0 {
		limit = maxAnswer
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return reply{}, sendError(ctx, limited, target, err)
	}
	if int64(len(body)) > limit {
		return reply{}, fmt.Errorf("%w: %s sent more than %d bytes", ErrAnswer, origin(target), limit)
	}
	return reply{status: response.StatusCode, header: response.Header, body: body}, nil
}

func (c *Client) request(ctx context.Context, target *url.URL, q call) (*http.Request, error) {
	token, err := c.token()
	if err != nil {
		return nil, fatal{err}
	}
	request, err := http.NewRequestWithContext(ctx, q.method, target.String(), bytes.NewReader(q.body))
	if err != nil {
		return nil, fatal{fmt.Errorf("make request: %w", err)}
	}
	request.Header.Set("Accept", cmp.Or(q.accept, mediaJSON)+", application/problem+json")
	request.Header.Set("User-Agent", c.config.UserAgent)
	trace(ctx, request.Header)
	if q.body != nil {
		request.Header.Set("Content-Type", cmp.Or(q.contentType, mediaJSON))
	}
	if q.idempotencyKey != "" {
		request.Header.Set("Idempotency-Key", q.idempotencyKey)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+string(token))
	}
	return request, nil
}

// sendError names the server, and tells the request's own time limit from the caller's.
func sendError(caller, limited context.Context, target *url.URL, err error) error {
	if caller.Err() == nil && errors.Is(context.Cause(limited), errNoAnswer) {
		err = errNoAnswer
	}
	return fmt.Errorf("%s: %w", origin(target), err)
}

// decode reads a JSON answer. Unknown fields are ignored: servers may be newer.
func decode[T any](r reply) (T, error) {
	var value T
	if err := json.Unmarshal(r.body, &value); err != nil {
		return value, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return value, nil
}

// encode writes a body of our own types, which always can be encoded.
func encode(value any) ([]byte, error) {
	body, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return body, nil
}
