package validator

import (
	"fmt"
	"io"
	"log/slog"
)

const redaction = "[redacted]"

// Redacted is embedded in a struct that holds a secret and makes it print as
// "[redacted]" with every verb of fmt, in log/slog, and in encoding/json.
//
// fmt cannot call methods on the unexported fields of an enclosing struct and
// prints what it finds there, so the secret itself belongs in a Hidden.
type Redacted struct{}

// String returns "[redacted]".
func (Redacted) String() string { return redaction }

// GoString returns "[redacted]"; it serves %#v.
func (Redacted) GoString() string { return redaction }

// Format writes "[redacted]" whatever the verb, so that %x and %d tell nothing either.
func (Redacted) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redaction) }

// LogValue returns "[redacted]" to log/slog.
func (Redacted) LogValue() slog.Value { return slog.StringValue(redaction) }

// MarshalJSON returns "[redacted]" as a JSON string.
func (Redacted) MarshalJSON() ([]byte, error) { return []byte(`"` + redaction + `"`), nil }

// MarshalText returns "[redacted]" to every other text encoder.
func (Redacted) MarshalText() ([]byte, error) { return []byte(redaction), nil }

// Hidden keeps a secret two pointers away, because fmt follows one pointer when a
// verb does not suit it, and prints the address of a second one. The zero value
// hides nil.
type Hidden[T any] struct{ outer **T }

// Hide hides what secret points to, without copying it.
func Hide[T any](secret *T) Hidden[T] { return Hidden[T]{outer: &secret} }

// Reveal returns the pointer given to Hide.
func (h Hidden[T]) Reveal() *T {
	if h.outer == nil {
		return nil
	}
	return *h.outer
}
