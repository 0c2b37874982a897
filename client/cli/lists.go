package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

var (
	keyStates = []string{
		string(wire.KeyStateGenerated), string(wire.KeyStateDepositing), string(wire.KeyStateFree),
		string(wire.KeyStateHeld), string(wire.KeyStateResting), string(wire.KeyStateRetired),
	}
	depositStates = []string{
		string(wire.DepositStatePlanned), string(wire.DepositStateSigned), string(wire.DepositStateSent),
		string(wire.DepositStateMined), string(wire.DepositStateFinal),
	}
)

// listing holds the flags of commands that list something.
type listing struct {
	connection
	output

	state string
}

// command makes a command that lists or shows something.
func (l *listing) command(a *app, use, short string, args cobra.PositionalArgs, run func(context.Context, *cobra.Command, *client.Client, []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args, RunE: l.checked(l.with(a, run))}
	l.connection.addTo(cmd, defaultTimeout)
	l.output.addTo(cmd)
	return cmd
}

// byState adds --state.
func (l *listing) byState(cmd *cobra.Command, states []string) *cobra.Command {
	cmd.Flags().StringVar(&l.state, "state", "", "only those in this state: "+strings.Join(states, ", "))
	complete(cmd, "state", states...)
	return cmd
}

func (l *listing) checkState(states []string) error {
	if l.state != "" && !slices.Contains(states, l.state) {
		return usagef("--state %q: choose one of %s", l.state, strings.Join(states, ", "))
	}
	return nil
}

func (a *app) assignmentsCommand() *cobra.Command {
	l := &listing{}
	consistency := string(wire.ConsistencyStale)
	cmd := l.command(a, "assignments", "list which pod holds which public key", noArguments,
		func(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
			if !wire.Consistency(consistency).Valid() {
				return usagef("--consistency %q: choose one of stale, linearizable", consistency)
			}
			list, err := c.Assignments(ctx, wire.Consistency(consistency))
			if err != nil {
				return err
			}
			return l.print(cmd.OutOrStdout(), list, func(g *grid) { assignmentsTable(g, list) })
		})
	cmd.Flags().StringVar(&consistency, "consistency", consistency, "stale (from any node, with its age) or linearizable (from the leader)")
	complete(cmd, "consistency", string(wire.ConsistencyStale), string(wire.ConsistencyLinearizable))
	return cmd
}

func assignmentsTable(g *grid, list wire.Assignments) {
	g.row("NAMESPACE", "POD", "UID", "STATE", "FENCE", "PUBLIC KEY")
	keys := 0
	for _, a := range list.Assignments {
		for _, key := range a.Keys {
			g.row(a.Namespace, a.Pod, a.PodUID, a.State, a.Fence, key)
		}
		keys += len(a.Keys)
	}
	g.note("%s of %s, at index %d, %d ms old", plural(keys, "key"), plural(len(list.Assignments), "pod"), list.AppliedIndex, list.AgeMs)
}

func (a *app) keysCommand() *cobra.Command {
	list, show := &listing{}, &listing{}
	return group("keys", "look at the pool of keys, bring keys into it and take them out",
		list.byState(list.command(a, "list", "list keys", noArguments, list.keys), keyStates),
		show.command(a, "show PUBLICKEY", "show one key", oneArgument("public key"), show.key),
		a.importCommand(), a.confirmStoppedCommand(), a.retireCommand(), a.checkKeysCommand())
}

func (l *listing) keys(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	if err := l.checkState(keyStates); err != nil {
		return err
	}
	all := wire.KeyPage{Keys: []wire.Key{}}
	err := pages(func(cursor string) (string, error) {
		page, err := c.KeyPage(ctx, wire.KeyState(l.state), cursor)
		all.Keys, all.Counts = append(all.Keys, page.Keys...), page.Counts
		return page.NextCursor, err
	})
	if err != nil {
		return err
	}
	return l.print(cmd.OutOrStdout(), all, func(g *grid) {
		g.row("PUBLIC KEY", "STATE", "INDEX", "FENCE", "HOLDER", "VALIDATOR")
		for _, key := range all.Keys {
			g.row(key.Pubkey, stateOf(key), index(key), key.Fence, holder(key), key.ValidatorStatus)
		}
		g.note("%s; in all: %s", plural(len(all.Keys), "key"), counts(all.Counts, keyStates))
	})
}

func (l *listing) key(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
	pubkey, err := validator.ParsePublicKey(args[0])
	if err != nil {
		return usageError{err}
	}
	key, err := c.Key(ctx, pubkey)
	if err != nil {
		return err
	}
	return l.print(cmd.OutOrStdout(), key, func(g *grid) {
		g.row("public key", key.Pubkey)
		g.row("state", key.State)
		g.row("path", key.Path)
		g.row("fence", key.Fence)
		g.row("holder", holder(key))
		g.row("reserved by", key.ReservedBy)
		if s := key.Adopted; isAdopted(key) {
			g.row("adopted", fmt.Sprintf("%d gwei in transaction %s, block %d, before this cluster had the seed", s.AmountGwei, s.TxHash, s.BlockNumber))
			g.row("withdrawal credentials", s.WithdrawalCredentials)
			g.row("rests until", strings.TrimPrefix(key.RestsUntil, "until "))
		}
		if key.Imported {
			g.row("imported", "yes")
			g.row("rests until", strings.TrimPrefix(key.RestsUntil, "until "))
		}
		if key.RetiredReason != "" {
			g.row("retired", retirement(key.RetiredReason, key.RetiredDetail))
		}
		if key.ValidatorIndex != nil {
			g.row("validator", fmt.Sprintf("%s, index %d", key.ValidatorStatus, *key.ValidatorIndex))
			g.row("effective balance in gwei", key.EffectiveBalanceGwei)
		}
	})
}

// isAdopted reports whether the key of the seed was found with a deposit.
func isAdopted(key wire.Key) bool { return key.Adopted != wire.Stake{} }

// stateOf is the key's state, and where it comes from if it is not made here.
func stateOf(key wire.Key) string {
	switch {
	case key.Imported:
		return string(key.State) + " (imported)"
	case isAdopted(key):
		return string(key.State) + " (adopted)"
	}
	return string(key.State)
}

// index is that of the seed; an imported key has none.
func index(key wire.Key) string {
	if key.Imported {
		return ""
	}
	return strconv.FormatInt(key.Index, 10)
}

func holder(key wire.Key) string {
	if key.Holder.Pod == "" {
		return ""
	}
	return key.Holder.Namespace + "/" + key.Holder.Pod
}

func (a *app) depositsCommand() *cobra.Command {
	list, show := &listing{}, &listing{}
	return group("deposits", "look at the stakes",
		list.byState(list.command(a, "list", "list deposits, why they wait, and what they cost", noArguments, list.deposits), depositStates),
		show.command(a, "show PUBLICKEY", "show the deposit for one key", oneArgument("public key"), show.deposit),
		a.exportCommand(), a.verifyCommand(), a.resumeCommand())
}

func (l *listing) deposits(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	if err := l.checkState(depositStates); err != nil {
		return err
	}
	all := wire.DepositPage{Deposits: []wire.Deposit{}}
	err := pages(func(cursor string) (string, error) {
		page, err := c.DepositPage(ctx, wire.DepositState(l.state), cursor)
		all.Deposits, all.Counts, all.Waiting = append(all.Deposits, page.Deposits...), page.Counts, page.Waiting
		all.Funds, all.Pace, all.Spares = page.Funds, page.Pace, page.Spares
		return page.NextCursor, err
	})
	if err != nil {
		return err
	}
	return l.print(cmd.OutOrStdout(), all, func(g *grid) {
		g.row("PUBLIC KEY", "STATE", "GWEI", "NONCE", "BLOCK", "TRANSACTION")
		for _, d := range all.Deposits {
			g.row(d.Pubkey, d.State, number(d.AmountGwei), nonce(d), number(d.BlockNumber), d.TxHash)
		}
		g.note("%s; in all: %s", plural(len(all.Deposits), "deposit"), counts(all.Counts, depositStates))
		if all.Waiting.Code != "" {
			g.note("waiting: %s (%s)", all.Waiting.Detail, all.Waiting.Code)
		}
		g.funds(all.Funds)
		g.pace(all.Pace)
		g.spares(all.Spares)
	})
}

func (l *listing) deposit(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
	pubkey, err := validator.ParsePublicKey(args[0])
	if err != nil {
		return usageError{err}
	}
	d, err := c.Deposit(ctx, pubkey)
	if err != nil {
		return err
	}
	return l.print(cmd.OutOrStdout(), d, func(g *grid) {
		g.row("public key", d.Pubkey)
		g.row("state", d.State)
		g.row("amount in gwei", number(d.AmountGwei))
		g.row("withdrawal credentials", d.WithdrawalCredentials)
		g.row("chain", number(d.ChainID))
		g.row("account", d.Account)
		g.row("block", strings.TrimSpace(number(d.BlockNumber)+" "+d.BlockHash))
		for _, attempt := range d.Attempts {
			g.row("attempt", fmt.Sprintf("nonce %d, %s, fee cap %d wei, tip %d wei", attempt.Nonce, attempt.TxHash, attempt.FeeCapWei, attempt.TipWei))
		}
		for _, loss := range d.Losses {
			g.row("lost", fmt.Sprintf("nonce %d, %s: %s", loss.Nonce, loss.TxHash, loss.Reason))
		}
	})
}

// nonce is shown once there is a transaction: before that 0 would say nothing.
func nonce(d wire.Deposit) string {
	if len(d.Attempts) == 0 && d.TxHash == "" {
		return ""
	}
	return strconv.FormatInt(d.Nonce, 10)
}

// number leaves out what is not known yet.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// pages calls page with one cursor after the other until there is none.
func pages(page func(cursor string) (next string, err error)) error {
	seen := map[string]bool{"": true}
	for cursor := ""; ; {
		next, err := page(cursor)
		if err != nil || next == "" {
			return err
		}
		if seen[next] {
			return fmt.Errorf("%w: its pages go in a circle", client.ErrAnswer)
		}
		seen[next], cursor = true, next
	}
}

func (a *app) clusterCommand() *cobra.Command {
	l := &listing{}
	return group("cluster", "look at the members, and change them",
		l.command(a, "status", "list members, leader and lag", noArguments, l.clusterStatus),
		a.joinCommand(), a.removeMemberCommand(), a.promoteCommand(), a.transferCommand())
}

func (l *listing) clusterStatus(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	cluster, err := c.ClusterOfAll(ctx)
	if err != nil {
		return err
	}
	return l.print(cmd.OutOrStdout(), cluster, func(g *grid) {
		g.row("NODE", "ROLE", "STATE", "LAG", "API", "RAFT")
		for _, node := range cluster.Nodes {
			g.row(node.ID, role(cluster, node), state(node), lag(node), node.API, node.Raft)
		}
		bears := ""
		if cluster.Leader != "" { // nobody else knows who answers
			bears = "; it tolerates the loss of " + plural(cluster.FailureTolerance, "voter")
		}
		known := "the server that answered is part of no cluster (yet)"
		if cluster.ClusterID != "" {
			known = "cluster " + cluster.ClusterID
		}
		g.note("%s, term %d%s", known, cluster.Term, bears)
		if cluster.Leader == "" {
			g.note("NO LEADER: nothing can be changed. /readyz of each node says what it waits for")
		}
		if voters := votersOf(cluster); cluster.FailureTolerance == 0 && voters > 1 && cluster.Leader != "" {
			g.note("WARNING: with one more of the %d voters lost the cluster stops", voters)
		}
		for _, node := range cluster.Nodes {
			if node.Waiting != "" {
				g.note("%s does not vote yet: %s", node.ID, node.Waiting)
			}
		}
		if cluster.Restore.Open {
			restoreNotes(g, cluster.Restore)
		}
		eventsNotes(g, cluster)
		termsNotes(g, cluster)
	})
}

func votersOf(cluster wire.Cluster) (voters int) {
	for _, node := range cluster.Nodes {
		if node.Voter {
			voters++
		}
	}
	return voters
}

func role(cluster wire.Cluster, node wire.Node) string {
	switch {
	case node.ID == cluster.Leader:
		return "leader"
	case node.Voter:
		return "voter"
	default:
		return string(wire.NodeRoleNonvoter)
	}
}

func lag(node wire.Node) string {
	if node.Lag < 0 {
		return "unknown"
	}
	return strconv.FormatInt(node.Lag, 10)
}
