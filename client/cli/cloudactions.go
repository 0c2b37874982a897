package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

// waitTimeout is how long --wait waits by default.
const waitTimeout = 10 * time.Minute

// acting holds the flags of a command that begins an action.
type acting struct {
	listing

	action client.CloudAction
	wait   bool
}

func (a *app) actionCommands() []*cobra.Command {
	return []*cobra.Command{
		a.actionCommand(client.Instantiate, "bring a logical cloud into its clusters", `Brings a logical cloud into its clusters: namespace, quotas, permissions, and a
certificate for its user in each. The user gets a new key.`),
		a.actionCommand(client.Update, "bring what has changed since into the clusters", `Brings references, permissions and quotas that changed since into the clusters. Key
and certificates stay as they are; those that were denied or failed are asked for
again.`),
		a.actionCommand(client.Terminate, "remove a logical cloud from its clusters", `Removes a logical cloud from its clusters. Its key and certificates are forgotten at
once; what was applied is removed after that, the namespace only if Keysteward made
it. A namespace that goes takes everything in it along.`),
		a.actionCommand(client.RotateKey, "give a logical cloud a new key", `Gives a logical cloud that is up a new key and new certificates. Kubeconfigs with
the old key are good for nothing as soon as the clusters know the new one; those
with "keysteward credential" get the new one by themselves.`),
	}
}

func (a *app) actionCommand(action client.CloudAction, short, long string) *cobra.Command {
	f := &acting{action: action}
	cmd := &cobra.Command{
		Use: string(action) + " PROJECT CLOUD", Short: short,
		Long: long + `

With --wait it ends when that is done, with exit code 1 if it failed and 3 if
--timeout ran out (` + waitTimeout.String() + ` if it is not given); without, as soon as the cluster has taken
it down. To interrupt it changes nothing.

` + exitHelp,
		Example: "  keysteward clouds " + string(action) + " shop web --wait",
		Args:    namedArguments(cloudParents...),
		RunE:    f.checked(func(cmd *cobra.Command, args []string) error { return f.run(cmd, a, args) }),
	}
	f.connection.addTo(cmd, defaultTimeout)
	f.output.addTo(cmd)
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait until it is done")
	return cmd
}

func (f *acting) run(cmd *cobra.Command, a *app, args []string) error {
	if f.wait && !cmd.Flags().Changed("timeout") {
		f.timeout = waitTimeout
	}
	return f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
		status, err := c.Act(ctx, args[0], args[1], f.action)
		if err != nil {
			return err
		}
		if f.wait {
			return f.await(ctx, cmd, a, c, status)
		}
		return f.tell(cmd.OutOrStdout(), status, fmt.Sprintf("%s of logical cloud %s/%s has begun; keysteward clouds status %s %s tells how far it is",
			f.action, args[0], args[1], args[0], args[1]))
	})(cmd, args)
}

// await tells what each cluster waits for until the action is done.
func (f *acting) await(ctx context.Context, cmd *cobra.Command, a *app, c *client.Client, begun wire.LogicalCloudStatus) error {
	p := &clusterProgress{meter: a.meter(cmd.ErrOrStderr(), f.quiet)}
	status, err := c.AwaitCloud(ctx, begun.Project, begun.Cloud, func(s wire.LogicalCloudStatus) bool {
		return s.State != wire.CloudStateInstantiating && s.State != wire.CloudStateTerminating
	}, p.show)
	if err != nil {
		return err
	}
	wanted := wire.CloudStateInstantiated
	if f.action == client.Terminate {
		wanted = wire.CloudStateTerminated
	}
	if status.State != wanted {
		return fmt.Errorf("logical cloud %s/%s is %s%s", status.Project, status.Cloud, status.State, firstTrouble(status))
	}
	return f.tell(cmd.OutOrStdout(), status, fmt.Sprintf("logical cloud %s/%s is %s", status.Project, status.Cloud, status.State))
}

// firstTrouble says what went wrong in the first cluster where something did.
func firstTrouble(s wire.LogicalCloudStatus) string {
	for _, cluster := range s.Clusters {
		if cluster.Reason.Code != "" {
			return fmt.Sprintf(": cluster %s: %s (%s)", cluster.Reference, cluster.Reason.Message, cluster.Reason.Code)
		}
	}
	return ""
}

// clusterProgress writes a line for each cluster whenever there is news of it.
type clusterProgress struct {
	meter *meter
	told  map[string]string
}

func (p *clusterProgress) show(s wire.LogicalCloudStatus) {
	if p.told == nil {
		p.told = map[string]string{}
	}
	for _, cluster := range s.Clusters {
		if line := clusterLine(cluster); p.told[cluster.Reference] != line {
			p.told[cluster.Reference] = line
			p.meter.say(line)
		}
	}
}

func clusterLine(c wire.CloudClusterStatus) string {
	switch c.Step {
	case wire.CloudStepReady, wire.CloudStepRemoved, wire.CloudStepDenied, wire.CloudStepFailed:
		return c.Reference + ": " + string(c.Step) + because(c.Reason)
	default:
		return c.Reference + ": waiting for " + string(c.Step) + because(c.Reason)
	}
}

func because(r wire.WaitReason) string {
	if r.Code == "" {
		return ""
	}
	return ": " + r.Message + " (" + r.Code + ")"
}

// watching holds the flags of clouds status.
type watching struct {
	listing

	watch bool
}

func (a *app) cloudStatusCommand() *cobra.Command {
	f := &watching{}
	cmd := f.command(a, "status PROJECT CLOUD", "show how far a logical cloud is, cluster by cluster", namedArguments(cloudParents...), nil)
	cmd.Long = `Shows how far a logical cloud is, cluster by cluster: the next step, and why it waits.
With --watch it is shown again whenever it changes, until it is interrupted or, if
given, --timeout runs out.

` + exitHelp
	cmd.Example = "  keysteward clouds status shop web --watch"
	cmd.RunE = f.checked(func(cmd *cobra.Command, args []string) error { return f.run(cmd, a, args) })
	cmd.Flags().BoolVar(&f.watch, "watch", false, "show it again whenever it changes")
	return cmd
}

func (f *watching) run(cmd *cobra.Command, a *app, args []string) error {
	if f.watch && !cmd.Flags().Changed("timeout") {
		f.timeout = 0
	}
	return f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
		if f.watch {
			return f.follow(ctx, cmd, c, args)
		}
		status, err := c.CloudStatus(ctx, args[0], args[1])
		if err != nil {
			return err
		}
		return f.show(cmd, status)
	})(cmd, args)
}

func (f *watching) show(cmd *cobra.Command, status wire.LogicalCloudStatus) error {
	return f.print(cmd.OutOrStdout(), status, func(g *grid) { cloudStatusTable(g, status) })
}

// follow shows the status whenever it changes. To be interrupted is its natural end.
func (f *watching) follow(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
	var last string
	var failure error
	_, err := c.AwaitCloud(ctx, args[0], args[1], func(wire.LogicalCloudStatus) bool { return failure != nil }, func(s wire.LogicalCloudStatus) {
		now := fmt.Sprintf("%+v", s)
		if now == last {
			return
		}
		if last != "" && f.form == outputTable {
			fmt.Fprintln(cmd.OutOrStdout())
		}
		last, failure = now, f.show(cmd, s)
	})
	if failure != nil {
		return failure
	}
	if last == "" || ctx.Err() == nil {
		return err
	}
	return nil
}

func cloudStatusTable(g *grid, s wire.LogicalCloudStatus) {
	g.note("logical cloud %s/%s is %s (generation %d, revision %d)", s.Project, s.Cloud, s.State, s.Generation, s.Revision)
	if s.CommonName != "" {
		g.note("its user logs in as %s", s.CommonName)
	}
	g.row("REFERENCE", "CLUSTER", "READY", "STEP", "GOOD UNTIL", "RENEWED AT", "WHY IT WAITS")
	for _, cluster := range s.Clusters {
		g.row(cluster.Reference, cluster.ClusterProvider+"/"+cluster.Cluster, yesNo(cluster.Ready), cluster.Step,
			moment(cluster.Certificate.NotAfter), moment(cluster.Certificate.RenewAt), strings.TrimPrefix(because(cluster.Reason), ": "))
	}
	if n := len(s.Actions); n > 0 {
		last := s.Actions[n-1]
		g.note("last action: %s by %s at %s", last.Action, last.By, moment(last.Time))
	}
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
