// Command keysteward is one member of a Keysteward cluster, and the client for
// people and init containers.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/keysteward/keysteward/client/cli"
)

var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	root := cli.New(version)
	root.AddCommand(newServerCommand())
	code := cli.ExecuteCommand(ctx, root, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
