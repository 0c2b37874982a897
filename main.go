// Command keysteward is one member of a Keysteward cluster, and the client for
// people and init containers.
package main

import (
	"os"

	"github.com/keysteward/keysteward/client/cli"
)

var version = "dev"

func main() {
	root := cli.New(version)
	root.AddCommand(newServerCommand())
	os.Exit(cli.Main(root))
}
