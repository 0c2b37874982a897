package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/kubefile"
)

// kubeconfigGetting holds the flags of kubeconfig get.
type kubeconfigGetting struct {
	connection

	out, context             string
	merge, setCurrent, force bool
	exec, noWait             bool
}

func (a *app) kubeconfigCommand() *cobra.Command {
	return group("kubeconfig", "kubeconfigs for the user of a logical cloud", a.kubeconfigGetCommand())
}

func (a *app) kubeconfigGetCommand() *cobra.Command {
	f := &kubeconfigGetting{}
	cmd := &cobra.Command{
		Use:   "get PROJECT CLOUD [REFERENCE]",
		Short: "get the kubeconfig for one cluster of a logical cloud, or for all of them",
		Long: `Gets the kubeconfig with which the user of a logical cloud logs in to one of its
clusters, or one for all of them. It waits until there is a certificate, and tells
what for; with --no-wait it does not, and ends with exit code 3.

The kubeconfig holds a PRIVATE KEY. It goes to standard output, to a file of mode
0600 (--out; a file with anything else in it is not replaced without --force), or
into the file that kubectl uses (--merge: $KUBECONFIG or ~/.kube/config, or the
file of --out).

In a merge each context gets a cluster and a user of its own name, USER@REFERENCE or
that of --context, and everything else stays as it is, the current context too
unless --set-current is given. Entries from an earlier merge for the same cluster
of the same cloud are replaced; others of the same name are not without --force.

A certificate expires, and its kubeconfig with it. One of --exec holds no key and
goes on for ever: kubectl runs "keysteward credential", with the same --server and
files as now, which fetches the current certificate.

` + exitHelp,
		Example: `  keysteward kubeconfig get shop web eu --merge && kubectl --context alice@eu get pods
  keysteward kubeconfig get shop web eu --merge --exec --set-current
  keysteward kubeconfig get shop web --out web.kubeconfig`,
		Args: cloudAndMaybeReference,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, a, args) },
	}
	f.addTo(cmd, waitTimeout)
	flags := cmd.Flags()
	flags.StringVar(&f.out, "out", "-", "write it to this file; - is standard output")
	flags.BoolVar(&f.merge, "merge", false, "add it to the file that kubectl uses, or to that of --out")
	flags.StringVar(&f.context, "context", "", "with --merge: name of the context for the one REFERENCE (default USER@REFERENCE)")
	flags.BoolVar(&f.setCurrent, "set-current", false, "with --merge: make it the current context")
	flags.BoolVar(&f.force, "force", false, "replace what has the same name")
	flags.BoolVar(&f.exec, "exec", false, "one without a key, that fetches the current certificate")
	flags.BoolVar(&f.noWait, "no-wait", false, "do not wait for a certificate")
	_ = cmd.MarkFlagFilename("out")
	return cmd
}

func cloudAndMaybeReference(cmd *cobra.Command, args []string) error {
	if len(args) == 3 {
		return nil
	}
	if len(args) > 3 {
		return usagef("%s takes a project, a logical cloud and at most one cluster reference, got %s", called(cmd), quoted(args))
	}
	return namedArguments(cloudParents...)(cmd, args)
}

func (f *kubeconfigGetting) check(args []string) error {
	switch {
	case !f.merge && (f.setCurrent || f.context != ""):
		return usagef("--set-current and --context need --merge")
	case f.context != "" && len(args) < 3:
		return usagef("--context is a name for one context: give a cluster REFERENCE")
	case f.out == "":
		return usagef("--out is empty: want a file, or - for standard output")
	}
	return nil
}

func (f *kubeconfigGetting) run(cmd *cobra.Command, a *app, args []string) error {
	if err := f.check(args); err != nil {
		return err
	}
	return f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
		o := client.KubeconfigOptions{Project: args[0], Cloud: args[1], Exec: f.exec}
		if len(args) > 2 {
			o.Reference = args[2]
		}
		text, err := f.get(ctx, cmd, a, c, o)
		if err != nil {
			return err
		}
		defer clear(text)
		safe, err := kubefile.Check(text, f.plugin(a, o))
		if err != nil {
			return err
		}
		defer clear(safe)
		switch {
		case f.merge:
			return f.mergeInto(ctx, cmd, a, c, o, safe)
		case f.out == "-":
			_, err := cmd.OutOrStdout().Write(safe)
			return err
		}
		return f.write(cmd, safe)
	})(cmd, args)
}

// get asks until there is a kubeconfig, and tells what it waits for.
func (f *kubeconfigGetting) get(ctx context.Context, cmd *cobra.Command, a *app, c *client.Client, o client.KubeconfigOptions) (client.Kubeconfig, error) {
	if f.noWait {
		o.Hold = -1
		return c.Kubeconfig(ctx, o)
	}
	w := newWaiting(cmd.ErrOrStderr(), a.terminal(cmd.ErrOrStderr()), f.quiet)
	defer w.end()
	if w.terminal {
		o.Hold = time.Second // the line is to move
	}
	return c.AwaitKubeconfig(ctx, o, func(p wire.PendingKubeconfig) { w.tell(pendingLine(p)) })
}

func pendingLine(p wire.PendingKubeconfig) string {
	line := "waiting for cluster " + p.Reference
	if n := len(p.Waiting) - 1; n > 0 {
		line += " and " + plural(n, "other")
	}
	line += ": " + string(p.Step) + ": " + p.Message
	if p.Reason != "" && p.Reason != string(p.Step) {
		line += " (" + p.Reason + ")"
	}
	return line
}

// plugin has kubectl run this program with the connection that was used now.
func (f *kubeconfigGetting) plugin(a *app, o client.KubeconfigOptions) *kubefile.Plugin {
	if !f.exec {
		return nil
	}
	connection := []string{"--server", strings.Join(f.servers, ",")}
	for _, file := range []struct{ flag, name string }{
		{"--token-file", f.tokenFile}, {"--ca-file", f.caFile}, {"--client-cert", f.cert}, {"--client-key", f.key},
	} {
		if file.name == "" {
			continue
		}
		if whole, err := filepath.Abs(file.name); err == nil { // kubectl runs anywhere
			file.name = whole
		}
		connection = append(connection, file.flag, file.name)
	}
	return &kubefile.Plugin{Command: a.command(), Args: func(reference string) []string {
		return append([]string{"credential", "--project", o.Project, "--cloud", o.Cloud, "--ref", reference}, connection...)
	}}
}

// commandName is how kubectl finds this program on the PATH.
const commandName = "keysteward"

// ownCommand is the name of this program where the PATH leads to it, else its path.
func ownCommand() string {
	own, err := os.Executable()
	if err != nil {
		return commandName
	}
	found, err := exec.LookPath(commandName)
	if err == nil && sameFile(found, own) {
		return commandName
	}
	return own
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	other, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(one, other)
}

func (f *kubeconfigGetting) write(cmd *cobra.Command, text []byte) error {
	err := kubefile.Write(f.out, text, f.force)
	if errors.Is(err, kubefile.ErrOccupied) {
		return fmt.Errorf("%w: --merge adds to it, --force replaces it", err)
	}
	if err != nil || f.quiet {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "kubeconfig written to %s%s\n", f.out, f.secretNote())
	return nil
}

func (f *kubeconfigGetting) secretNote() string {
	if f.exec {
		return ""
	}
	return "; it holds a private key"
}

func (f *kubeconfigGetting) mergeInto(ctx context.Context, cmd *cobra.Command, a *app, c *client.Client, o client.KubeconfigOptions, text []byte) error {
	cluster, err := c.Cluster(ctx)
	if err != nil {
		return err
	}
	paths := []string{f.out}
	if f.out == "-" {
		variable, _ := a.lookupEnv("KUBECONFIG")
		paths = kubefile.Paths(variable)
	}
	merged, err := kubefile.Merge(ctx, paths, text, kubefile.Options{
		Origin:  kubefile.Origin{ClusterID: cluster.ClusterID, Project: o.Project, Cloud: o.Cloud},
		Context: f.context, SetCurrent: f.setCurrent, Force: f.force,
	})
	if errors.Is(err, kubefile.ErrTaken) {
		return fmt.Errorf("%w: --context NAME takes another name for one REFERENCE, --force replaces them", err)
	}
	if err != nil || f.quiet {
		return err
	}
	if len(merged.Files) == 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: it was there already\n", oneLine(strings.Join(paths, ", ")))
	} else {
		fmt.Fprintf(cmd.ErrOrStderr(), "merged into %s%s\n", oneLine(strings.Join(merged.Files, ", ")), f.secretNote())
	}
	for _, name := range merged.Contexts {
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n", oneLine(name))
	}
	return nil
}
