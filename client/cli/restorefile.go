package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/node/backup"
)

// restoring holds the flags of restore.
type restoring struct {
	connection

	replace    string
	forceOlder bool
	yes        bool
}

const restoreHelp = `Puts a backup in the place of the cluster's state, on all members at once or on none:
into a new cluster that has nothing yet, or into one that gives its own state up.
The servers need a key-encryption key (--seal) of the cluster that made the backup.
The cluster's ID is the backup's from then on.

Before: stop whatever the lost cluster still runs. Two clusters with the same seed
would hand the same keys out and pay for the same deposits.

After it history has gone back, and the cluster holds everything that could harm:
  - every key rests, tokens are suspended, nothing is signed, deposited or applied;
  - sign in with a token of the servers' file (--token-hashes) or a certificate;
  - keysteward restore status tells what the cluster has yet to find out;
  - keysteward tokens confirm ID... lets tokens in again that were not revoked since;
  - keysteward restore confirm --validators-stopped ends it, when no validator runs with a key of the
    cluster but in the pods that keysteward assignments shows.

`

func (a *app) restoreFileCommand() *cobra.Command {
	f := &restoring{}
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "put a backup in the place of the cluster's state",
		Long: restoreHelp + exitHelp, Args: oneArgument("file"),
		RunE: f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
			return f.run(ctx, cmd, a, c, args[0])
		}),
	}
	f.addTo(cmd, 0)
	cmd.Flags().StringVar(&f.replace, "replace-cluster", "", "ID of the present cluster, if the backup is of another one: all that it has is given up")
	cmd.Flags().BoolVar(&f.forceOlder, "force-older", false, "give up what this same cluster did after the backup")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	return cmd
}

func (f *restoring) run(ctx context.Context, cmd *cobra.Command, a *app, c *client.Client, path string) error {
	if !f.yes && !a.terminal(cmd.ErrOrStderr()) {
		return usagef("this asks on a terminal, and this is none: give --yes")
	}
	m, size, err := f.look(path)
	if err != nil {
		return err
	}
	present, err := f.present(ctx, c)
	if err != nil {
		return err
	}
	if !f.quiet {
		f.tell(cmd.ErrOrStderr(), m, size, present)
	}
	if !f.yes {
		if err := f.ask(ctx, cmd); err != nil {
			return err
		}
	}
	meter := a.meter(cmd.ErrOrStderr(), f.quiet)
	defer meter.close()
	done, err := c.RestoreBackup(ctx, client.RestoreWish{ReplaceCluster: f.replace, ForceOlder: f.forceOlder}, func() (io.ReadCloser, int64, error) {
		file, err := os.Open(path)
		if err != nil {
			return nil, 0, err //nolint:wrapcheck // names the file
		}
		return &sending{File: file, progress: progress{out: io.Discard, meter: meter, now: a.now}}, size, nil
	})
	switch {
	case errors.Is(err, client.ErrOutcomeUnknown):
		return fmt.Errorf("%w; look at keysteward restore status first", err)
	case err != nil:
		return err
	}
	if !f.quiet {
		fmt.Fprintf(cmd.OutOrStdout(), "restored: cluster %s is as it was at %s (index %d); %s was given up at index %d\n"+
			"next: keysteward restore status, keysteward tokens confirm, and at last keysteward restore confirm --validators-stopped\n",
			done.ClusterID, done.MadeAt.UTC().Format(timeForm), done.Index, done.ReplacedCluster, done.ReplacedIndex)
	}
	return nil
}

const timeForm = "2006-01-02 15:04:05Z"

// look checks the file here, so that a damaged one is not sent.
func (f *restoring) look(path string) (m backup.Manifest, size int64, err error) {
	in, err := os.Open(path)
	if err != nil {
		return m, 0, err //nolint:wrapcheck // names the file
	}
	defer func() { _ = in.Close() }()
	if m, _, err = backup.Verify(bufio.NewReaderSize(in, 1<<20), nil); err != nil {
		return m, 0, fmt.Errorf("%s: %w", path, err)
	}
	info, err := in.Stat()
	if err != nil {
		return m, 0, err //nolint:wrapcheck // names the file
	}
	return m, info.Size(), nil
}

// present is what the cluster has that may be given up.
type present struct {
	cluster wire.Cluster
	keys    map[string]int64
}

func (f *restoring) present(ctx context.Context, c *client.Client) (p present, err error) {
	if p.cluster, err = c.Cluster(ctx); err != nil {
		return p, err
	}
	page, err := c.KeyPage(ctx, "", "")
	p.keys = page.Counts
	return p, err
}

func (f *restoring) tell(w io.Writer, m backup.Manifest, size int64, p present) {
	fmt.Fprintf(w, "The backup: %s\n", oneLine(contents(m, size)))
	fmt.Fprintf(w, "The cluster now: %s, led by %s; keys: %s\n", oneLine(p.cluster.ClusterID), oneLine(p.cluster.Leader), counts(p.keys, keyStates))
	if m.ClusterID == p.cluster.ClusterID {
		fmt.Fprintln(w, "Given up: everything that this cluster did after the backup was made.")
	} else {
		fmt.Fprintf(w, "Given up: everything that cluster %s has. Its ID becomes %s.\n", oneLine(p.cluster.ClusterID), oneLine(m.ClusterID))
	}
	fmt.Fprintln(w, "Afterwards every key rests and tokens are suspended, until: keysteward restore confirm --validators-stopped")
}

var errNotConfirmed = errors.New("not confirmed; nothing was restored")

func (f *restoring) ask(ctx context.Context, cmd *cobra.Command) error {
	fmt.Fprint(cmd.ErrOrStderr(), "Type restore to go on: ")
	answer, err := readLine(ctx, bufio.NewReader(cmd.InOrStdin()))
	if err != nil || strings.TrimSpace(answer) != "restore" {
		return errNotConfirmed
	}
	return nil
}

// sending is a file that tells how much of it was sent.
type sending struct {
	*os.File

	progress progress
}

// Read implements io.Reader.
func (s *sending) Read(p []byte) (int, error) {
	n, err := s.File.Read(p)
	_, _ = s.progress.Write(p[:max(n, 0)])
	return n, err //nolint:wrapcheck // as io.Reader promises it
}
