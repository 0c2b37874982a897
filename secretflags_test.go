package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/cli"
)

// secretive are words in a flag's name that promise a secret.
var secretive = regexp.MustCompile(`password|passphrase|token|secret|mnemonic|seed|words|keystore|private|key`)

// notSecret are flags with such a word that take a file, a number or a switch. A new
// one must be thought about: a command line is there for everybody on the machine.
var notSecret = map[string]string{
	"mnemonic-out": "file", "funding-keystore": "file", "key-algorithm": "a name", "client-key": "file", "raft-tls-key": "file", "tls-key": "file", "token-hashes": "file", "pod-token-audience": "a name that everybody may know",
	"max-keys-per-pod": "number", "spare-keys": "number", "keys": "number",
	"seed-unused-before-start-block": "switch",
}

// No command takes a secret on its command line: by file, environment or prompt only.
func TestNoSecretOnACommandLine(t *testing.T) {
	t.Parallel()
	root := cli.New("test")
	root.AddCommand(newServerCommand())
	seen := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		check := func(f *pflag.Flag) {
			seen++
			if secretive.MatchString(f.Name) && !strings.HasSuffix(f.Name, "-file") && f.Value.Type() != "bool" {
				require.Contains(t, notSecret, f.Name, "%s --%s", cmd.CommandPath(), f.Name)
			}
		}
		cmd.LocalFlags().VisitAll(check)
		cmd.PersistentFlags().VisitAll(check)
		for _, child := range cmd.Commands() {
			walk(child)
		}
	}
	walk(root)
	require.Greater(t, seen, 50)
}
