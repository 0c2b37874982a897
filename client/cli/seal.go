package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

func (a *app) sealCommand() *cobra.Command {
	status, verify := &listing{}, &listing{}
	statusCommand := status.command(a, "status", "show which keys open the secrets, and what is sealed under which data key", noArguments, status.seal)
	verifyCommand := verify.command(a, "verify", "have every node try each of its keys, as after a restart", noArguments, verify.verifySeal)
	verifyCommand.Long = `Has every node try each key that it was given with --seal, as it would after a
restart. Exit code 1 if a node has no key that opens the secrets, or did not answer.
Run it before a key is removed, and before nodes are restarted.`
	return group("seal", "look at and change the keys that open the secrets",
		statusCommand, verifyCommand, a.sealRotateCommand(), a.sealAddCommand(), a.sealRemoveCommand())
}

// newest is the view of the member that has seen the most changes.
func newest(nodes []client.NodeSeal) wire.Seal {
	var best wire.Seal
	for _, n := range nodes {
		if n.Err == nil && (best.Node == "" || n.Seal.Revision > best.Revision) {
			best = n.Seal
		}
	}
	return best
}

// sealState is what `seal status` prints as JSON.
type sealState struct {
	wire.Seal

	Nodes []sealNode `json:"nodes"`
}

type sealNode struct {
	Node string `json:"node"`
	// State is unsealed, sealed, or unknown where the node did not answer.
	State  string              `json:"state"`
	Reason string              `json:"reason,omitempty"`
	Keys   []wire.SealVerified `json:"keys,omitempty"`
}

// States of a node.
const (
	nodeUnsealed = "unsealed"
	nodeSealed   = "sealed"
	nodeUnknown  = "unknown"
)

// sealNodeOf says what is known of a node's seal.
func sealNodeOf(n client.NodeSeal, unsealed bool, reason string) sealNode {
	one := sealNode{Node: n.Node, State: nodeSealed, Reason: reason, Keys: n.Verified}
	switch {
	case n.Err != nil:
		one.State, one.Reason = nodeUnknown, n.Err.Error()
	case unsealed:
		one.State = nodeUnsealed
	}
	return one
}

// answered returns the errors of the nodes if none of them answered.
func answered(nodes []client.NodeSeal) error {
	var failures []error
	for _, n := range nodes {
		if n.Err == nil {
			return nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", n.Node, n.Err))
	}
	return errors.Join(failures...)
}

func (l *listing) seal(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	nodes, err := c.Seal(ctx)
	if err == nil {
		err = answered(nodes)
	}
	if err != nil {
		return err
	}
	state := sealState{Seal: newest(nodes)}
	for _, n := range nodes {
		state.Nodes = append(state.Nodes, sealNodeOf(n, !n.Seal.Sealed, n.Seal.Reason))
	}
	return l.print(cmd.OutOrStdout(), state, func(g *grid) {
		sealTable(g, state)
	})
}

func sealTable(g *grid, state sealState) {
	g.row("KEY", "OPENS THE SECRETS", "NODES THAT HAVE IT")
	for _, k := range state.Keys {
		opens := "yes"
		switch {
		case k.Removed:
			opens = "no: removed, take it from the nodes' flags"
		case !k.Wraps:
			opens = "no: seal add " + k.ID
		}
		g.row(k.ID, opens, strings.Join(k.Nodes, ", "))
	}
	g.note("")
	g.row("DATA KEY", "SEALED UNDER IT", "USES", "")
	for _, t := range state.Terms {
		now := ""
		if t.Term == state.CurrentTerm {
			now = "seals, since " + state.Since.Format(time.RFC3339)
		}
		what := plural(int(t.ImportedKeys), "imported key")
		if t.Seed {
			what = "the seed, " + what
		}
		g.row(t.Term, what, t.Uses, now)
	}
	g.note("")
	g.row("NODE", "STATE", "REASON")
	for _, n := range state.Nodes {
		g.row(n.Node, n.State, n.Reason)
	}
}

func (l *listing) verifySeal(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	nodes, err := c.VerifySeal(ctx)
	if err == nil {
		err = answered(nodes)
	}
	if err != nil {
		return err
	}
	var list []sealNode
	var failed []string
	for _, n := range nodes {
		one := sealNodeOf(n, slices.ContainsFunc(n.Verified, func(k wire.SealVerified) bool { return k.Ok }), "")
		if one.State != nodeUnsealed {
			failed = append(failed, n.Node)
		}
		list = append(list, one)
	}
	err = l.print(cmd.OutOrStdout(), list, func(g *grid) {
		g.row("NODE", "KEY", "OPENS THE SECRETS", "WHY NOT")
		for _, n := range list {
			if n.State == nodeUnknown {
				g.row(n.Node, "", nodeUnknown, n.Reason)
			}
			for _, k := range n.Keys {
				g.row(n.Node, k.ID, map[bool]string{true: "yes", false: "no"}[k.Ok], k.Detail)
			}
		}
	})
	if err == nil && len(failed) > 0 {
		err = fmt.Errorf("no key is known to open the secrets on %s", strings.Join(failed, ", "))
	}
	return err
}

// sealChange holds the flags of commands that change the seal.
type sealChange struct {
	connection

	force bool
}

func (f *sealChange) done(cmd *cobra.Command, format string, args ...any) {
	if !f.quiet {
		fmt.Fprintln(cmd.OutOrStdout(), oneLine(fmt.Sprintf(format, args...)))
	}
}

func (a *app) sealRotateCommand() *cobra.Command {
	f := &sealChange{}
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "seal under a new data key from now on",
		Long: `Makes a new data key, under which everything is sealed from now on. What is sealed
already is sealed again in the background; seal status shows how far that is. The
cluster does this by itself every 90 days.

` + exitHelp,
		Args: noArguments,
		RunE: f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
			if err := c.RotateSeal(ctx); err != nil {
				return err
			}
			f.done(cmd, "a new data key seals from now on")
			return nil
		}),
	}
	f.addTo(cmd, defaultTimeout)
	return cmd
}

func (a *app) sealAddCommand() *cobra.Command {
	f := &sealChange{}
	cmd := &cobra.Command{
		Use:   "add ID",
		Short: "let one more key-encryption key open the secrets",
		Long: `Lets a key-encryption key open the secrets that a node was given with --seal, and
that seal status shows with "no".

For a TPM this is your word that the key with this fingerprint is in the machine
that you mean. Compare it with what
  keysteward server seal-id --seal tpm:DEVICE
prints on that machine: whoever holds the key that you add opens everything.

` + exitHelp,
		Args: oneArgument("ID of a key-encryption key"),
		RunE: f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
			if err := c.AddSealKey(ctx, args[0], f.force); err != nil {
				return err
			}
			f.done(cmd, "%s opens the secrets", args[0])
			return nil
		}),
	}
	f.addTo(cmd, defaultTimeout)
	cmd.Flags().BoolVar(&f.force, "force", false, "add it although it was removed before")
	return cmd
}

func (a *app) sealRemoveCommand() *cobra.Command {
	f := &sealChange{}
	cmd := &cobra.Command{
		Use:   "remove ID",
		Short: "let a key-encryption key open nothing more",
		Long: `Lets a key-encryption key open nothing more. Root key and data key are made anew,
and all secrets are sealed again: what is sealed from then on the removed key does not
open, not even together with an old backup.

What it does not do: what was sealed before is still opened by it. That is in old
backups, and for days also in the log, the snapshots and the freed blocks of the disks
of the nodes, the seed among it. If somebody may have the key and any of these, the
secrets themselves are in wrong hands: exit the validators. Wipe old disks.

The last key is never removed. A key without which a node could open nothing is
removed only with --force; that node is sealed from then on.

` + exitHelp,
		Args: oneArgument("ID of a key-encryption key"),
		RunE: f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
			err := c.RemoveSealKey(ctx, args[0], f.force)
			if err != nil {
				return err
			}
			f.done(cmd, "%s opens nothing that is sealed from now on; the rest is being sealed again (seal status). It still opens what the disks and backups of until now hold", args[0])
			return nil
		}),
	}
	f.addTo(cmd, defaultTimeout)
	cmd.Flags().BoolVar(&f.force, "force", false, "remove it although nodes are left that can open nothing")
	return cmd
}
