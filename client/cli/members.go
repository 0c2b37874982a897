package cli

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

// memberChange holds the flags of commands that change the members.
type memberChange struct {
	connection

	force, noWait bool
}

func (f *memberChange) done(cmd *cobra.Command, format string, args ...any) {
	if !f.quiet {
		fmt.Fprintln(cmd.OutOrStdout(), oneLine(fmt.Sprintf(format, args...)))
	}
}

// joinTimeout is for a node that has to be sent everything.
const joinTimeout = 10 * time.Minute

func (a *app) joinCommand() *cobra.Command {
	f := &memberChange{}
	cmd := &cobra.Command{
		Use:   "join HOST:PORT",
		Short: "let a node in, and wait until it votes",
		Long: `Lets the node in that answers to other members at this address (its
--advertise-raft). It has to run, with an empty data folder, --peers of this cluster
and --invited. Nodes of the founders' kind, such as ks-3 beside ks-0, ks-1 and ks-2, and
members that lost their disk come in by themselves and need no such word.

` + exitHelp,
		Args: oneArgument("address HOST:PORT"),
		RunE: f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
			if host, port, err := net.SplitHostPort(args[0]); err != nil || host == "" || port == "" {
				return usagef("%q: want HOST:PORT", args[0])
			}
			m, err := c.AddMember(ctx, args[0])
			if err != nil {
				return err
			}
			if f.noWait || m.Voter {
				f.done(cmd, "%s is a member; it votes %s", m.ID, map[bool]string{true: "already", false: "once it has caught up"}[m.Voter])
				return nil
			}
			return f.awaitVote(ctx, cmd, a, c, m.ID)
		}),
	}
	f.addTo(cmd, joinTimeout)
	cmd.Flags().BoolVar(&f.noWait, "no-wait", false, "do not wait until it votes")
	return cmd
}

const votePoll = 500 * time.Millisecond

// awaitVote waits until a member votes.
func (f *memberChange) awaitVote(ctx context.Context, cmd *cobra.Command, a *app, c *client.Client, id string) error {
	line := newWaiting(cmd.ErrOrStderr(), a.terminal(cmd.ErrOrStderr()), f.quiet)
	defer line.end()
	tick := time.NewTicker(votePoll)
	defer tick.Stop()
	for {
		cluster, err := c.ClusterOfLeader(ctx)
		if err != nil {
			return fmt.Errorf("%s is a member and does not vote yet: %w", id, err)
		}
		why := "it is no member any more"
		for _, n := range cluster.Nodes {
			if n.ID != id {
				continue
			}
			if n.Voter {
				line.end()
				f.done(cmd, "%s is a member and votes; the cluster tolerates the loss of %s", id, plural(cluster.FailureTolerance, "voter"))
				return nil
			}
			why = orElse(n.Waiting, "it catches up")
		}
		line.tell(id + " does not vote yet: " + why)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is a member and does not vote yet (%s): %w", id, why, ctx.Err())
		case <-tick.C:
		}
	}
}

func (a *app) removeMemberCommand() *cobra.Command {
	f := &memberChange{}
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "remove a member, by its ID or name",
		Long: `Removes a member. Stop its process before or after, and delete its data folder: with
these data it is not let in again. In Kubernetes scale the StatefulSet instead.

What would leave no majority of nodes that answer is refused, whatever is forced. A
voter that answers is removed only with --force if the cluster would tolerate fewer
losses afterwards.

` + exitHelp,
		Args: oneArgument("node"),
		RunE: f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
			id, err := memberCalled(ctx, c, args[0])
			if err != nil {
				return err
			}
			if err := c.RemoveMember(ctx, id, f.force); err != nil {
				return err
			}
			f.done(cmd, "%s is no member any more. Its data folder is of no use: delete it before a node of this name starts again", id)
			return nil
		}),
	}
	f.addTo(cmd, defaultTimeout)
	cmd.Flags().BoolVar(&f.force, "force", false, "also if fewer voters can be lost afterwards")
	return cmd
}

func (a *app) promoteCommand() *cobra.Command {
	f := &memberChange{}
	cmd := &cobra.Command{
		Use:   "promote NODE",
		Short: "let a member vote now that has caught up",
		Long: `Lets a member vote, by its ID or name, that has caught up. It does so by itself a
moment later; this command tells what it waits for.

` + exitHelp,
		Args: oneArgument("node"),
		RunE: f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
			id, err := memberCalled(ctx, c, args[0])
			if err == nil {
				err = c.PromoteMember(ctx, id)
			}
			if err != nil {
				return err
			}
			f.done(cmd, "%s votes", id)
			return nil
		}),
	}
	f.addTo(cmd, defaultTimeout)
	return cmd
}

func (a *app) transferCommand() *cobra.Command {
	f := &memberChange{}
	cmd := &cobra.Command{
		Use:   "transfer [NODE]",
		Short: "have the leader hand over",
		Long: `Has the leader hand over to a member, by its ID or name, or to any that can lead.

` + exitHelp,
		Args: atMostOneNode,
		RunE: f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) (err error) {
			to := ""
			if len(args) > 0 {
				if to, err = memberCalled(ctx, c, args[0]); err != nil {
					return err
				}
			}
			leader, err := c.Transfer(ctx, to)
			if err != nil {
				return err
			}
			if leader == "" {
				f.done(cmd, "the leader has handed over, and nobody leads yet: cluster status tells")
				return nil
			}
			f.done(cmd, "%s leads", leader)
			return nil
		}),
	}
	f.addTo(cmd, defaultTimeout)
	return cmd
}

func atMostOneNode(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("%s takes at most one node, got %s", called(cmd), quoted(args))
	}
	return nil
}

// memberCalled returns the ID of the member that has this ID or name. What is neither
// is taken for an ID: the cluster knows better.
func memberCalled(ctx context.Context, c *client.Client, name string) (string, error) {
	cluster, err := c.ClusterOfLeader(ctx)
	if err != nil {
		return "", err
	}
	var found []string
	for _, n := range cluster.Nodes {
		if n.ID == name {
			return name, nil
		}
		if i := strings.LastIndexByte(n.ID, '-'); i > 0 && n.ID[:i] == name {
			found = append(found, n.ID)
		}
	}
	switch len(found) {
	case 0:
		return name, nil
	case 1:
		return found[0], nil
	}
	return "", usagef("%s is the name of %s: say which", name, strings.Join(found, " and "))
}

// state is what there is to say of a member besides its role.
func state(node wire.Node) string {
	switch {
	case node.Silent:
		return "does not answer"
	case node.Sealed:
		return nodeSealed
	}
	return ""
}
