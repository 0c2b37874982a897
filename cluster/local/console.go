package local

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// console prints steps as they begin and end, and lines in between.
type console struct {
	mu   sync.Mutex
	out  io.Writer
	step string // which has begun a line of its own and not ended it
}

// printf prints lines, below the step that is under way.
func (c *console) printf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.breakLine()
	fmt.Fprintf(c.out, format, args...)
}

// run does one step and tells how it went: "chain … ok 0.3s".
func (c *console) run(name string, step func() error) error {
	begun := time.Now()
	c.mu.Lock()
	c.step = fmt.Sprintf("%-22s", name+" …")
	fmt.Fprint(c.out, c.step, " ")
	c.mu.Unlock()

	err := step()

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.step == "" { // other lines came in between
		fmt.Fprintf(c.out, "%-22s ", name+" …")
	}
	c.step = ""
	outcome := "ok"
	if err != nil {
		outcome = "failed"
	}
	fmt.Fprintf(c.out, "%s %.1fs\n", outcome, time.Since(begun).Seconds())
	return err
}

func (c *console) breakLine() {
	if c.step != "" {
		fmt.Fprintln(c.out)
		c.step = ""
	}
}

// lines returns a writer that prints each line indented.
func (c *console) lines() *lineWriter { return &lineWriter{console: c} }

// lineWriter splits what is written into lines.
type lineWriter struct {
	console *console
	rest    []byte
}

// Write implements io.Writer.
func (w *lineWriter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' {
			w.flush()
			continue
		}
		w.rest = append(w.rest, b)
	}
	return len(p), nil
}

// flush prints what was not ended by a new line.
func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.console.printf("  %s\n", w.rest)
	}
	w.rest = w.rest[:0]
}
