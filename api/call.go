package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// call is one request on its way through its route.
type call struct {
	echo   echo.Context
	caller Caller
	query  url.Values
	// object is what the call is about, as it was permitted; zero where that is the
	// whole cluster.
	object object
	// body is what [bodyOf] read, nil before.
	body any
	// reading is set where the route reads the state.
	reading reading
}

func (c *call) ctx() context.Context { return c.echo.Request().Context() }

// command wraps a body with whom it is proposed for.
func (c *call) command() *fsmpb.Command {
	return &fsmpb.Command{Caller: c.caller.proto(), RequestId: requestID(c.echo)}
}

// answer is what a handler wants to be sent.
type answer struct {
	status int
	header http.Header
	// body is sent as JSON; nil sends none.
	body any
	// stream, if set, writes the body of this type instead.
	stream      func(io.Writer) error
	contentType string
	// handler, if set, answers by itself.
	handler http.Handler
}

func ok(body any) answer { return answer{status: http.StatusOK, body: body} }

func streamed(contentType string, write func(io.Writer) error) answer {
	return answer{status: http.StatusOK, contentType: contentType, stream: write}
}

const streamBuffer = 32 << 10

func (a answer) send(e echo.Context) error {
	h := e.Response().Header()
	for name, values := range a.header {
		h[name] = values
	}
	switch {
	case a.handler != nil:
		a.handler.ServeHTTP(e.Response(), e.Request())
		return nil
	case a.stream != nil:
		h.Set(echo.HeaderContentType, a.contentType)
		e.Response().WriteHeader(a.status)
		if e.Request().Method == http.MethodHead {
			return nil // and nothing is made that nobody reads
		}
		w := bufio.NewWriterSize(e.Response(), streamBuffer)
		if err := a.stream(w); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		return w.Flush() //nolint:wrapcheck // the client went away
	case a.body == nil:
		e.Response().WriteHeader(a.status)
		return nil
	}
	body, err := json.Marshal(a.body)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	h.Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	e.Response().WriteHeader(a.status)
	_, err = e.Response().Write(append(body, '\n'))
	return err //nolint:wrapcheck // the client went away
}
