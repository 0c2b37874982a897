package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// stream is the content of a call that is too large to be held in memory. Each try
// begins it anew.
type stream struct {
	// take reads an answer of status 2xx. Its errors are those of reading, and then the
	// call is tried again, or wrap fatal.
	take func(header http.Header, body io.Reader) error
	// give opens what is sent.
	give func() (content io.ReadCloser, size int64, err error)
}

// sendStream is send for such a call: as long as bytes move there is no time limit but
// the caller's.
func (c *Client) sendStream(ctx context.Context, target *url.URL, q call) (reply, error) {
	watched, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &watch{limit: c.config.RequestTimeout, wait: q.wait, timer: time.AfterFunc(c.config.RequestTimeout, func() { cancel(errNoAnswer) })}
	defer w.timer.Stop()
	request, err := c.request(watched, target, q)
	if err != nil {
		return reply{}, err
	}
	if q.stream.give != nil {
		content, size, err := q.stream.give()
		if err != nil {
			return reply{}, fatal{err}
		}
		defer func() { _ = content.Close() }()
		request.Body, request.ContentLength, request.GetBody = io.NopCloser(&watchedReader{content, w}), size, nil
		request.Header.Set("Content-Type", q.contentType)
		request.Header.Set("Expect", "100-continue") // a follower redirects before it is sent anything
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return reply{}, streamError(ctx, watched, target, err)
	}
	defer func() { _ = response.Body.Close() }()
	r := reply{status: response.StatusCode, header: response.Header}
	body := &watchedReader{response.Body, w}
	if q.stream.take != nil && r.status >= 200 && r.status < 300 {
		if err := q.stream.take(r.header, body); err != nil {
			return r, streamError(ctx, watched, target, err)
		}
		return r, nil
	}
	if r.body, err = io.ReadAll(io.LimitReader(body, maxAnswer)); err != nil {
		return r, streamError(ctx, watched, target, err)
	}
	return r, nil
}

func streamError(caller, watched context.Context, target *url.URL, err error) error {
	if f, ok := errors.AsType[fatal](err); ok {
		return f
	}
	if caller.Err() == nil && errors.Is(context.Cause(watched), errNoAnswer) {
		err = errNoAnswer
	}
	return fmt.Errorf("%s: %w", origin(target), err)
}

// watch ends a call on which nothing moves for the limit, or, when all was sent, for as
// long as the server was asked to take.
type watch struct {
	limit, wait time.Duration
	timer       *time.Timer
}

type watchedReader struct {
	in    io.Reader
	watch *watch
}

// Read implements io.Reader.
func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if errors.Is(err, io.EOF) {
		r.watch.timer.Reset(r.watch.limit + r.watch.wait)
	} else {
		r.watch.timer.Reset(r.watch.limit)
	}
	return n, err //nolint:wrapcheck // as io.Reader promises it
}
