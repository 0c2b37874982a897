package main

import (
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
	"time"
)

const (
	// lastWait is how long what runs may take to end beyond what is finished in good order.
	lastWait = 20 * time.Second
	// closeWait is for closing; the node waits for its duties itself meanwhile.
	closeWait = 30 * time.Second
)

var errGoesOn = errors.New("what should have ended goes on; the process ends without it")

// within does something, and gives it up after a time: a process that hangs is worse than
// one that is cut off, since nobody starts it again. The error wraps errGoesOn then, and
// tells what all goroutines were at.
func within(limit time.Duration, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }() // left behind if it hangs
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		var at strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&at, 1)
		return fmt.Errorf("%w, after %v:\n%s", errGoesOn, limit, &at)
	}
}

// close is for what run has left. What could not be ended is not closed under its feet.
func (p *parts) close() error {
	return errors.Join(p.node.Close(), p.duty.Indexer().Close(), p.closeShipper())
}
