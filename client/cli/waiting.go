package cli

import (
	"fmt"
	"io"
	"time"
)

// waiting tells what a command waits for: on a terminal in one line that changes and
// counts the seconds, elsewhere in a line for each piece of news.
type waiting struct {
	w        io.Writer
	terminal bool
	quiet    bool
	since    time.Time
	said     string
	shown    bool
}

func newWaiting(w io.Writer, terminal, quiet bool) *waiting {
	return &waiting{w: w, terminal: terminal, quiet: quiet, since: time.Now()}
}

func (l *waiting) tell(what string) {
	what = oneLine(what)
	switch {
	case l.quiet:
	case l.terminal:
		l.shown = true
		fmt.Fprintf(l.w, "\r\x1b[K%s [%s]", what, time.Since(l.since).Round(time.Second))
	case what != l.said:
		l.said = what
		fmt.Fprintln(l.w, what)
	}
}

// end clears the line.
func (l *waiting) end() {
	if l.shown {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}
