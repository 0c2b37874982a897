package local

import (
	"context"
	"os"
	"syscall"

	"golang.org/x/term"
)

// heed acts on signals until the run is over.
func (l *launcher) heed(ctx context.Context, signals <-chan os.Signal, over <-chan struct{}, cancel context.CancelCauseFunc) {
	terminals := terminals()
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
		case ctx.Err() != nil: // asked for the second time
			l.nodes.kill()
		default:
			cancel(errInterrupted)
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
