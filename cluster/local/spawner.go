package local

import (
	"os/exec"
	"runtime"
)

// starter starts a process.
type starter interface{ start(cmd *exec.Cmd) error }

// placed starts the processes of a node elsewhere.
type placed struct {
	place Place
	node  int
}

func (p placed) start(cmd *exec.Cmd) error { return p.place.Start(p.node, cmd) } //nolint:wrapcheck // the caller names the process

// spawner starts all children from one thread that lives as long as it does: the
// kernel sends a child its parent-death signal when the thread that made it ends,
// and the Go runtime ends threads as it likes.
type spawner struct {
	work chan func()
	done chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{work: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for f := range s.work {
			f()
		}
	}()
	return s
}

// start does what cmd.Start does.
func (s *spawner) start(cmd *exec.Cmd) error {
	result := make(chan error)
	s.work <- func() { result <- cmd.Start() }
	return <-result
}

// close ends the thread, and with it every child that still runs (on Linux).
func (s *spawner) close() {
	close(s.work)
	<-s.done
}
