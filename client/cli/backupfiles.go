package cli

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/node/backup"
)

// openBackup opens a file, or standard input for "-".
func openBackup(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	return os.Open(name)
}

// backupState is what `backup show` and `verify` print as JSON.
type backupState struct {
	backup.Manifest

	// Whole is not known to show.
	Whole  bool   `json:"whole,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

func (a *app) backupVerifyCommand() *cobra.Command {
	o := &output{}
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "check without a server that a backup is whole and undamaged", Args: oneArgument("file"),
		Long: `Reads a whole backup (- is standard input) and checks its form and its hashes. No
server is asked and no key is needed, so damage is found, and forgery is not: who can
alter the file can make its hashes fit. That it is genuine is checked by the server
to which it is restored, with its key-encryption key.

Exit code 1 if the file is no backup, is cut off or damaged, or of a newer format.`,
		RunE: o.checked(func(cmd *cobra.Command, args []string) error {
			in, err := openBackup(cmd, args[0])
			if err != nil {
				return err //nolint:wrapcheck // names the file
			}
			defer func() { _ = in.Close() }()
			m, trailer, err := backup.Verify(bufio.NewReaderSize(in, 1<<20), nil)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			state := backupState{Manifest: m, Whole: true, Bytes: trailer.Bytes, SHA256: hex.EncodeToString(trailer.SHA256)}
			return o.print(cmd.OutOrStdout(), state, func(g *grid) {
				backupTable(g, state)
				g.note("The file is whole and undamaged. That it is genuine is for a server to check.")
			})
		}),
	}
	o.addTo(cmd)
	return cmd
}

func (a *app) backupShowCommand() *cobra.Command {
	o := &output{}
	cmd := &cobra.Command{
		Use: "show FILE", Short: "show what a backup says it is; nothing is checked", Args: oneArgument("file"),
		RunE: o.checked(func(cmd *cobra.Command, args []string) error {
			in, err := openBackup(cmd, args[0])
			if err != nil {
				return err //nolint:wrapcheck // names the file
			}
			defer func() { _ = in.Close() }()
			h, err := backup.ReadHeader(bufio.NewReader(in))
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			state := backupState{Manifest: h.Manifest}
			return o.print(cmd.OutOrStdout(), state, func(g *grid) { backupTable(g, state) })
		}),
	}
	o.addTo(cmd)
	return cmd
}

func backupTable(g *grid, s backupState) {
	g.row("CLUSTER", s.ClusterID)
	g.row("MADE AT", s.MadeAt.UTC().Format(time.RFC3339))
	g.row("BY", strings.TrimSpace(s.Node+" "+s.Program))
	g.row("INDEX", s.Index)
	g.row("FORMAT", fmt.Sprintf("stream %d, feature level %d", s.SnapshotFormat, s.FeatureLevel))
	c := s.Counts
	g.row("KEYS", fmt.Sprintf("%d, held %d", c.Keys, c.Held))
	g.row("ALLOCATIONS", c.Allocations)
	g.row("DEPOSITS", c.Deposits)
	g.row("CLOUDS", c.Clouds)
	g.row("TOKENS", c.Tokens)
	if s.Whole {
		g.row("STREAM", fmt.Sprintf("%d bytes, SHA-256 %s", s.Bytes, s.SHA256))
	}
}

func (a *app) backupStatusCommand() *cobra.Command {
	l := &listing{}
	return l.command(a, "status", "show how the scheduled backups are doing", noArguments,
		func(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
			b, err := c.Backups(ctx)
			if err != nil {
				return err
			}
			return l.print(cmd.OutOrStdout(), b, func(g *grid) { scheduleTable(g, b) })
		})
}

func scheduleTable(g *grid, b wire.Backups) {
	if !b.Scheduled {
		g.note("the leader, %s, makes no backups by itself: --backup-every of its server is not set", b.Node)
		return
	}
	keep := "all"
	if b.Keep > 0 {
		keep = strconv.FormatInt(b.Keep, 10)
	}
	g.row("TO", b.To)
	g.row("BY", b.Node)
	g.row("EVERY", time.Duration(b.EverySeconds)*time.Second)
	g.row("KEPT", keep)
	if b.Last.Name == "" {
		g.row("LAST", "none is known")
	} else {
		g.row("LAST", fmt.Sprintf("%s, %s, %s", b.Last.Name, b.Last.MadeAt.UTC().Format(time.RFC3339), megabytes(b.Last.Bytes)))
	}
	if !b.Next.IsZero() {
		g.row("NEXT", b.Next.UTC().Format(time.RFC3339))
	}
	if b.Failures > 0 {
		g.row("FAILED", fmt.Sprintf("%d times in a row, %s: %s", b.Failures, b.Reason.Code, b.Reason.Detail))
	}
}
