package beacon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxAnswer bounds an answer, in bytes: 500 validators have about 300,000.
const maxAnswer = 8 << 20

// States of the Beacon API that are asked.
const (
	stateHead      = "head"
	stateFinalized = "finalized"
)

// client asks one beacon node.
type client struct {
	cfg  Config
	host string // what may be told of the URL
}

func newClient(cfg Config) (*client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: malformed URL", ErrConfig)
	}
	own := *cfg.HTTP
	// A redirect would lead away from the server that was configured.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	cfg.HTTP = &own
	return &client{cfg: cfg, host: u.Host}, nil
}

// statusError is an answer that is an error by its HTTP status.
type statusError struct {
	status  int
	message string
}

// Error implements error.
func (e *statusError) Error() string {
	return fmt.Sprintf("HTTP status %d: %s", e.status, e.message)
}

// refusesKeys reports whether the error may be about some of the keys that were
// asked for, or about their number, so that asking for fewer may help.
func refusesKeys(err error) bool {
	e := (*statusError)(nil)
	if !errors.As(err, &e) {
		return false
	}
	switch e.status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong,
		http.StatusUnprocessableEntity, http.StatusInternalServerError:
		return true
	}
	return false
}

// validators asks for validators by public key, in the state. The answer may
// have fewer, or others.
func (c *client) validators(ctx context.Context, state string, ids []string) (validatorsAnswer, error) {
	body, err := json.Marshal(struct {
		IDs []string `json:"ids"`
	}{ids})
	if err != nil {
		return validatorsAnswer{}, fmt.Errorf("encode %d public keys: %w", len(ids), err)
	}
	return ask[validatorsAnswer](ctx, c, http.MethodPost, "/eth/v1/beacon/states/"+state+"/validators", body)
}

// ask sends one request and decodes its answer. Errors name the host only.
func ask[T any](ctx context.Context, c *client, method, path string, body []byte) (T, error) {
	var answer T
	data, err := c.send(ctx, method, path, body)
	if err == nil {
		err = json.Unmarshal(data, &answer)
	}
	if err != nil {
		return answer, fmt.Errorf("%s of the beacon node at %s: %w", path, c.host, err)
	}
	return answer, nil
}

func (c *client) send(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.cfg.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, withoutURL(err)
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.cfg.HTTP.Do(request)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer broke off: %w", err)
	case len(data) > maxAnswer:
		return nil, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	case response.StatusCode != http.StatusOK:
		return nil, &statusError{status: response.StatusCode, message: message(data)}
	}
	return data, nil
}

// message is what an error answer says, cut to what a log line bears.
func message(data []byte) string {
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(data, &said) != nil || said.Message == "" {
		return "without a message"
	}
	const most = 200
	return fmt.Sprintf("%.*q", most, said.Message)
}

// withoutURL takes the URL out of an error of net/http: it can hold an access key.
func withoutURL(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}
