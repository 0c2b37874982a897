package seal

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
)

// errDestroyed says that a secret was used after it was destroyed.
var errDestroyed = errors.New("the secret was cleared from memory")

// secretBytes is a short secret in pages of its own, outside of Go's heap: locked, so
// that they are not swapped out, and left out of core dumps, where the system allows it
// ([LockedMemory]). It prints as redacted, and is safe for concurrent use.
type secretBytes struct{ inner *secretPages }

// secretPages lie behind a pointer, so that printing the bare structure prints an address.
type secretPages struct {
	mu    sync.RWMutex
	bytes []byte // nil once destroyed
	clean runtime.Cleanup
}

// takeSecret moves a secret into pages of its own and zeroes the original.
func takeSecret(secret []byte) *secretBytes {
	defer clear(secret)
	pages := newPages(len(secret))
	copy(pages, secret)
	s := &secretBytes{inner: &secretPages{bytes: pages[:len(secret)]}}
	// Who drops a secret without a word must not leave it in memory. It hangs on what
	// use holds on to, so that no page goes while it is read.
	s.inner.clean = runtime.AddCleanup(s.inner, freePages, pages)
	return s
}

// use calls do with the secret, which do must neither keep nor change. While it runs
// the secret is not destroyed. The error is errDestroyed or that of do.
func (s *secretBytes) use(do func(secret []byte) error) error {
	s.inner.mu.RLock()
	defer s.inner.mu.RUnlock()
	if s.inner.bytes == nil {
		return errDestroyed
	}
	err := do(s.inner.bytes)
	runtime.KeepAlive(s.inner)
	return err
}

// destroy zeroes the secret and gives its pages back, once nobody uses it any more.
// It may be called more than once.
func (s *secretBytes) destroy() {
	s.inner.mu.Lock()
	defer s.inner.mu.Unlock()
	if s.inner.bytes == nil {
		return
	}
	s.inner.clean.Stop()
	freePages(s.inner.bytes[:cap(s.inner.bytes)])
	s.inner.bytes = nil
}

const redacted = "[redacted]"

// The receivers below are values, so that a copy is redacted too.

// String redacts the secret.
func (secretBytes) String() string { return redacted }

// GoString redacts the secret.
func (secretBytes) GoString() string { return redacted }

// Format redacts the secret for every verb.
func (secretBytes) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, redacted) }

// LogValue redacts the secret.
func (secretBytes) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON redacts the secret.
func (secretBytes) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) } //nolint:wrapcheck // can not fail

// LockedMemory reports why secrets of this process may be swapped out, with the way
// out of it, nil if they may not.
func LockedMemory() error { return tryLock() }
