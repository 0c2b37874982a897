package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// EnvName returns the environment variable of a flag: KEYSTEWARD_ and the flag in
// capitals, dashes as underscores.
func EnvName(flag string) string {
	return "KEYSTEWARD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// BindEnv gives every flag of a command that was not given on the command line the
// value of its environment variable, if that is set and not empty. It is to be
// called after flags were parsed. Errors name the variable.
func BindEnv(cmd *cobra.Command) error { return bindEnv(cmd, os.LookupEnv) }

func bindEnv(cmd *cobra.Command, lookup func(string) (string, bool)) error {
	var failures []error
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if flag.Changed || flag.Name == "help" || flag.Name == "version" {
			return
		}
		value, found := lookup(EnvName(flag.Name))
		if !found || value == "" {
			return
		}
		if err := cmd.Flags().Set(flag.Name, value); err != nil {
			failures = append(failures, fmt.Errorf("environment variable %s: %w", EnvName(flag.Name), err))
		}
	})
	if len(failures) > 0 {
		return usageError{errors.Join(failures...)}
	}
	return nil
}
