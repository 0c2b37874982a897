package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// noArguments refuses arguments of a command that has only flags.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usagef("%s takes no arguments, got %s", called(cmd), quoted(args))
}

// oneArgument wants one argument, and names it.
func oneArgument(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return usagef("%s needs a %s, got none", called(cmd), what)
		case 1:
			return nil
		default:
			return usagef("%s takes one %s, got %s", called(cmd), what, quoted(args))
		}
	}
}

// called is a command as it is typed behind the program's name.
func called(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

func quoted(args []string) string {
	return `"` + strings.Join(args, `", "`) + `"`
}

// tame makes the commands that cobra adds by itself refuse wrong arguments as ours
// do. It is called when the streams are set, because completion takes them along.
func tame(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = knownCommand
		case "completion":
			cmd.Args = subcommandOnly
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				shell.Args = noArguments
			}
		}
	}
}

// knownCommand wants the path of a command.
func knownCommand(cmd *cobra.Command, path []string) error {
	found, rest, err := cmd.Root().Find(path)
	if err != nil {
		return usageError{err}
	}
	return subcommandOnly(found, rest)
}
