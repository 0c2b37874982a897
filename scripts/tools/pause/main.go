// Command pause does nothing until it is told to end, and buries the dead. It is the first process
// of each pod on the node that scripts/node starts, and of the node itself: there, whatever has lost
// its parent comes to it.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGINT, syscall.SIGTERM)
	for got := range signals {
		if got != syscall.SIGCHLD {
			return
		}
		bury()
	}
}

// bury waits for all that have ended: one signal may stand for several of them.
func bury() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if pid <= 0 && err != syscall.EINTR {
			return
		}
	}
}
