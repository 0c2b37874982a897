package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// Forms of output.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputYAML  = "yaml"
)

var outputs = []string{outputTable, outputJSON, outputYAML}

// output is the flag of commands that list something.
type output struct{ form string }

func (o *output) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.form, "output", "o", outputTable, "form of the answer: "+strings.Join(outputs, ", "))
	complete(cmd, "output", outputs...)
}

func (o *output) check() error {
	if !slices.Contains(outputs, o.form) {
		return usagef("--output %q: choose one of %s", o.form, strings.Join(outputs, ", "))
	}
	return nil
}

// checked makes a command refuse a wrong --output before it asks anybody.
func (o *output) checked(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := o.check(); err != nil {
			return err
		}
		return run(cmd, args)
	}
}

// print writes a value as JSON or YAML, or as the table that is given.
func (o *output) print(w io.Writer, value any, table func(*grid)) error {
	switch o.form {
	case outputJSON:
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	case outputYAML:
		return printYAML(w, value)
	default:
		g := &grid{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
		table(g)
		return g.w.Flush()
	}
}

// grid is a table of columns that line up.
type grid struct{ w *tabwriter.Writer }

// row adds a row. Cells come from servers, so what would steer a terminal is dropped.
func (g *grid) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = oneLine(fmt.Sprint(cell))
		if texts[i] == "" {
			texts[i] = "-"
		}
	}
	fmt.Fprintln(g.w, strings.Join(texts, "\t"))
}

// note adds a line that belongs to no column.
func (g *grid) note(format string, args ...any) {
	_ = g.w.Flush()
	fmt.Fprintln(g.w, oneLine(fmt.Sprintf(format, args...)))
	_ = g.w.Flush()
}

// counts writes numbers by name, such as "free 3, held 8".
func counts(byName map[string]int64, order []string) string {
	var parts []string
	for _, name := range order {
		if n := byName[name]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, n))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// plural writes a number of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// complete lets a shell complete the values of a flag.
func complete(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}
