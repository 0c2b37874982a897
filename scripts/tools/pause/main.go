// Command pause does nothing until it is told to end, and buries the dead. It is the first process
// of each pod on the node that scripts/node starts, and of the node itself: there, whatever has lost
// its parent comes to it.
//
// Given a folder, it opens each folder that appears there to everybody: Kubernetes makes volumes there
// that only root may use, while pods run as somebody else.
package main

import (
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGINT, syscall.SIGTERM)
	if len(os.Args) > 1 {
		go openAll(os.Args[1])
	}
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

// openAll goes on until the process ends.
func openAll(folder string) {
	events, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	if err != nil {
		log.Fatalf("watch %s: %v", folder, err)
	}
	if _, err := syscall.InotifyAddWatch(events, folder, syscall.IN_CREATE); err != nil {
		log.Fatalf("watch %s: %v", folder, err)
	}
	buffer := make([]byte, 4096)
	for {
		made, err := filepath.Glob(filepath.Join(folder, "*"))
		if err != nil {
			log.Fatalf("list %s: %v", folder, err)
		}
		for _, volume := range made {
			if err := os.Chmod(volume, 0o777); err != nil && !os.IsNotExist(err) {
				log.Printf("open %s: %v", volume, err)
			}
		}
		// What they are does not matter: there is something new.
		if _, err := syscall.Read(events, buffer); err != nil && err != syscall.EINTR {
			log.Fatalf("watch %s: %v", folder, err)
		}
	}
}
