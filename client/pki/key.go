package pki

import (
	"fmt"
	"io"
	"log/slog"
)

// Key is a private key, PEM (PKCS #8). It prints as "[redacted]".
type Key []byte

const redaction = "[redacted]"

// String returns "[redacted]".
func (Key) String() string { return redaction }

// Format writes "[redacted]" whatever the verb.
func (Key) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redaction) }

// LogValue returns "[redacted]" to log/slog.
func (Key) LogValue() slog.Value { return slog.StringValue(redaction) }

// MarshalText returns "[redacted]" to text encoders, JSON among them.
func (Key) MarshalText() ([]byte, error) { return []byte(redaction), nil }
