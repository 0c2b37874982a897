package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/user"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/client/cli"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// recoverOptions are the flags of `keysteward cluster recover`.
type recoverOptions struct {
	dataDir, advertise string
	inspect, yes       bool
}

// addRecover adds the command to those about the cluster. It works on a folder and asks
// no server, so it is of the node and not of the client.
func addRecover(root *cobra.Command) {
	if group, _, err := root.Find([]string{"cluster"}); err == nil {
		group.AddCommand(newRecoverCommand())
	}
}

func newRecoverCommand() *cobra.Command {
	var o recoverOptions
	cmd := &cobra.Command{
		Use:   "recover --data-dir FOLDER",
		Short: "make one stopped node the whole cluster, after the quorum is lost for good",
		Long: `Makes one stopped node the only member of its cluster, when so many disks are lost for
good that the others are no majority. While a majority of the disks is still somewhere,
bring those back instead: then nothing is lost.

What only the lost nodes had is lost, although it was acknowledged: keys that were
handed out, deposits that were signed, tokens that were revoked. So it is like the
restore of a backup that was made the moment the nodes were lost.

 1. Stop ALL nodes, and see to it that none starts: with their old data the others
    could be a second cluster.
 2. On each node that has its disk: keysteward cluster recover --data-dir FOLDER --inspect
    Choose the one with the highest last term, and among those with the highest index.
 3. On that one: keysteward cluster recover --data-dir FOLDER --yes
    as the user that the node runs as: it refuses any other, root too.
 4. Delete the data folders of ALL others. Start the chosen one, and then the others: they
    come in under new IDs.

The folder is copied into itself first (before-recovery-…); remove the copy in the end.

Exit codes: 0 done; 1 failed, or nothing was done without --yes; 2 wrong flag.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.dataDir == "" {
				return cli.UsageError(errors.New("--data-dir is required (or the environment variable KEYSTEWARD_DATA_DIR)"))
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			if o.inspect || !o.yes {
				return o.look(cmd, log)
			}
			return o.run(cmd, log)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dataDir, "data-dir", "", "folder of the stopped node (required)")
	f.StringVar(&o.advertise, "advertise-raft", "", "host:port under which the other members reach it from now on (default: as before)")
	f.BoolVar(&o.inspect, "inspect", false, "only tell what the folder holds, and change nothing")
	f.BoolVar(&o.yes, "yes", false, "do it: your word that all other nodes are stopped, and that their data will not be started again")
	_ = cmd.MarkFlagDirname("data-dir")
	return cmd
}

var errNotDone = errors.New("nothing was changed: say --yes to recover from this node, or --inspect to look only")

func (o *recoverOptions) look(cmd *cobra.Command, log *slog.Logger) error {
	found, err := node.Inspect(o.dataDir, log)
	if err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	showInspection(cmd.OutOrStdout(), found)
	if o.inspect {
		return nil
	}
	return errNotDone
}

func (o *recoverOptions) run(cmd *cobra.Command, log *slog.Logger) error {
	done, err := node.Recover(node.Recovery{DataDir: o.dataDir, Address: o.advertise, By: operator(), Logger: log, Now: time.Now()})
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	out := cmd.OutOrStdout()
	showInspection(out, done.Before)
	fmt.Fprintf(out, "\n%s is the only member of cluster %s now, at %s. It goes on at term %d, index %d.\n",
		done.Before.NodeID, done.Before.ClusterID, done.Address, done.Term, done.Index)
	fmt.Fprintf(out, "What there was before is in %s.\n\n", done.Copy)
	others := false
	for _, m := range done.Before.Members {
		if m.ID == done.Before.NodeID {
			continue
		}
		if !others {
			fmt.Fprintln(out, "BEFORE you start it, delete the data folders of all others. With their old data they could be a second cluster:")
		}
		others = true
		fmt.Fprintf(out, "  %s at %s%s\n", m.ID, m.Address, map[bool]string{true: "   WARNING: somebody answers there now"}[answers(cmd.Context(), m.Address)])
	}
	fmt.Fprint(out, afterRecovery)
	return nil
}

// afterRecovery is what nobody else can know.
const afterRecovery = `
What the lost nodes alone knew is lost, although it was acknowledged. Nobody knows what it was.
` + recoveredMeans

// answers tells whether anybody is at an address.
func answers(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// operator is who is at the machine, as far as it knows.
func operator() string {
	name := "nobody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// showInspection tells what a folder holds.
func showInspection(w io.Writer, i node.Inspection) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("node", "%s", i.NodeID)
	row("cluster", "%s", i.ClusterID)
	row("last entry", "term %d, index %d", i.LastTerm, i.LastIndex)
	row("highest term heard of", "%d", i.CurrentTerm)
	row("snapshot", "term %d, index %d", i.SnapshotTerm, i.SnapshotIndex)
	meta := i.View.Meta()
	row("applied, with all of the log", "index %d", meta.GetAppliedIndex())
	row("state", "%s; audit records up to %d", counts(i.View), meta.GetNextAudit())
	for _, m := range i.Members {
		row("member", "%s at %s%s", m.ID, m.Address, map[bool]string{false: ", without a vote"}[m.Voter])
	}
	_ = t.Flush()
}

func counts(v *fsm.View) string {
	keys, byState := uint64(0), v.Meta().GetKeyCounts()
	for _, n := range byState {
		keys += n
	}
	at := func(s fsmpb.KeyState) uint64 {
		if int(s) < len(byState) {
			return byState[s]
		}
		return 0
	}
	return fmt.Sprintf("%d keys (%d held, %d resting, %d free)", keys, at(fsmpb.KeyState_KEY_STATE_HELD), at(fsmpb.KeyState_KEY_STATE_RESTING), at(fsmpb.KeyState_KEY_STATE_FREE))
}
