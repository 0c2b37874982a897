// Command keysteward-local runs a Keysteward cluster and a development chain on
// one machine, for trying and for tests.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/keysteward/keysteward/cluster/local"
)

var version = "dev"

const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := local.Command(version, signals).ExecuteContext(context.Background())
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "keysteward-local:", err)
	if errors.Is(err, local.ErrUsage) {
		fmt.Fprintln(os.Stderr, "Run 'keysteward-local --help' for help.")
		os.Exit(exitUsage)
	}
	os.Exit(exitFailed)
}
