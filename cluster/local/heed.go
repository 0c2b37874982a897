package local

import (
	"context"
	"os"
	"syscall"
	"time"

	"golang.org/x/term"
)

// impatience is the time after which asking once more for the end means to kill. One
// Ctrl-C may reach us twice, from the terminal and from the script that runs us.
const impatience = time.Second

// heed acts on signals until the run is over.
func (l *launcher) heed(ctx context.Context, signals <-chan os.Signal, over <-chan struct{}, cancel context.CancelCauseFunc) {
	terminals := terminals()
	var asked time.Time
	for {
		var sig os.Signal
		select {
		case <-over:
			return
		case sig = <-signals:
		}
		switch {
		case sig == syscall.SIGHUP && !hungUp(terminals):
			l.restart(ctx)
		case asked.IsZero():
			asked = time.Now()
			cancel(errInterrupted)
		case time.Since(asked) >= l.impatience:
			l.nodes.kill()
		}
	}
}

// restart starts nodes again that have ended, and tells cluster.json.
func (l *launcher) restart(ctx context.Context) {
	started, err := l.nodes.restart(ctx)
	for _, p := range started {
		l.console.printf("%s started again, PID %d\n", p.name, p.pid())
	}
	if len(started) > 0 {
		if failure := l.rewriteClusterFile(); err == nil {
			err = failure
		}
	}
	switch {
	case err != nil:
		l.console.printf("SIGHUP: %v\n", err)
	case len(started) == 0:
		l.console.printf("SIGHUP: no node has ended, so there is none to start again\n")
	}
}

// terminals returns which of the standard streams are terminals.
func terminals() (list []int) {
	for fd := range 3 {
		if term.IsTerminal(fd) {
			list = append(list, fd)
		}
	}
	return list
}

// hungUp tells whether our terminal is gone: then SIGHUP means what it always
// meant, and nobody is left who would press Ctrl-C.
func hungUp(terminals []int) bool {
	for _, fd := range terminals {
		if !term.IsTerminal(fd) {
			return true
		}
	}
	return false
}
