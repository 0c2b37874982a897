// Command keysteward is one member of a Keysteward cluster, and the client for
// people and init containers.
package main

import (
	"fmt"
	"os"

	"github.com/keysteward/keysteward/client/cli"
	"github.com/keysteward/keysteward/node/harden"
)

var version = "dev"

func main() {
	if err := harden.Process(); err != nil {
		fmt.Fprintln(os.Stderr, "keysteward: warning:", err)
	}
	root := cli.New(version)
	root.AddCommand(newServerCommand())
	addRecover(root)
	os.Exit(cli.Main(root))
}
