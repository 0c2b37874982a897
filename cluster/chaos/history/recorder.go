package history

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Recorder notes operations in the order of their ends. It is safe for concurrent use.
type Recorder struct {
	began time.Time

	mu  sync.Mutex
	ops []Op
}

// NewRecorder starts the clock.
func NewRecorder() *Recorder { return &Recorder{began: time.Now()} }

// Now is the time on the clock of all operations.
func (r *Recorder) Now() time.Duration { return time.Since(r.began) }

// Note adds an operation that has ended.
func (r *Recorder) Note(o Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, o)
}

// Ops are all that ended.
func (r *Recorder) Ops() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ops)
}

// Write writes all operations as lines of JSON.
func (r *Recorder) Write(to io.Writer) error {
	out := json.NewEncoder(to)
	for _, o := range r.Ops() {
		if err := out.Encode(o); err != nil {
			return fmt.Errorf("write the history: %w", err)
		}
	}
	return nil
}
