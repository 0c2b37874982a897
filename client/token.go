package client

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// Token is a bearer token. It prints as "[redacted]".
type Token string

const redaction = "[redacted]"

// String returns "[redacted]".
func (Token) String() string { return redaction }

// GoString returns "[redacted]"; it serves %#v.
func (Token) GoString() string { return redaction }

// Format writes "[redacted]" whatever the verb.
func (Token) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redaction) }

// LogValue returns "[redacted]" to log/slog.
func (Token) LogValue() slog.Value { return slog.StringValue(redaction) }

// MarshalText returns "[redacted]" to text encoders, JSON among them.
func (Token) MarshalText() ([]byte, error) { return []byte(redaction), nil }

// maxTokenFile bounds a token file; service-account tokens have about a kilobyte.
const maxTokenFile = 64 << 10

// ErrToken is wrapped by errors about a token or its file. They never hold a part of it.
var ErrToken = errors.New("unusable token")

// token returns the token to send now, empty if there is none.
func (c *Client) token() (Token, error) {
	if c.config.TokenFile == "" {
		return c.config.Token, nil
	}
	return ReadToken(c.config.TokenFile)
}

// ReadToken reads a token file; white space around the token is dropped. Errors
// wrap ErrToken and name the file.
func ReadToken(file string) (Token, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrToken, err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return "", fmt.Errorf("%w: read %s: %w", ErrToken, file, err)
	}
	defer clear(raw)
	if len(raw) > maxTokenFile {
		return "", fmt.Errorf("%w: %s has more than %d bytes", ErrToken, file, maxTokenFile)
	}
	token := Token(strings.TrimSpace(string(raw)))
	if token == "" {
		return "", fmt.Errorf("%w: %s is empty", ErrToken, file)
	}
	if err := token.check(); err != nil {
		return "", fmt.Errorf("%w, in %s", err, file)
	}
	return token, nil
}

// check refuses what cannot stand in a header (RFC 6750 allows less).
func (t Token) check() error {
	for i := range len(t) {
		if t[i] <= ' ' || t[i] > '~' {
			return fmt.Errorf("%w: character %d is a blank or not printable ASCII", ErrToken, i+1)
		}
	}
	return nil
}
