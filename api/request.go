package api

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"runtime/debug"

	"github.com/labstack/echo/v4"
)

const requestIDKey = "keysteward.requestId"

var saneRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// identify gives the request its ID, the client's own if it is a sane one, and
// sets the headers that every answer has.
func (s *Server) identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		id := e.Request().Header.Get(echo.HeaderXRequestID)
		if id == "" || !saneRequestID.MatchString(id) {
			id = rand.Text()
		}
		e.Set(requestIDKey, id)
		h := e.Response().Header()
		h.Set(echo.HeaderXRequestID, id)
		h.Set(echo.HeaderXContentTypeOptions, "nosniff")
		return next(e)
	}
}

func requestID(e echo.Context) string {
	id, _ := e.Get(requestIDKey).(string)
	return id
}

// recover turns a panic into an internal error. The panic's value is logged by
// its type only where it is not an error or a text, because it may hold a secret.
func (s *Server) recover(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) (err error) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if e, isError := v.(error); isError && errors.Is(e, http.ErrAbortHandler) {
				panic(v)
			}
			s.log.Error("a handler panicked", "request_id", requestID(e), "route", routeOf(e).path,
				"panic", panicText(v), "stack", string(debug.Stack()))
			err = newProblem(internal, "the node could not answer; its log has more under the request ID")
		}()
		return next(e)
	}
}

func panicText(v any) string {
	switch v := v.(type) {
	case error:
		return v.Error()
	case string:
		return v
	}
	return fmt.Sprintf("%T", v)
}
