package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/auditverify"
	"github.com/keysteward/keysteward/fsm/audit"
)

// auditVerification holds the flags of audit verify.
type auditVerification struct {
	connection
	output

	files []string
	heads []string

	allowGaps bool
	maxLag    uint64
}

func (a *app) auditVerifyCommand() *cobra.Command {
	f := &auditVerification{}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "recompute the chain of audit records, and compare it with files and noted heads",
		Long: `Reads all audit records that the cluster keeps and recomputes their hashes, here
and not on the server. Exit code 0 only if every record follows from the one before.

The last line is the head, SEQ:HASH of the newest record. Note it somewhere that no
node can write to, and give it as --head the next time: a chain that was written
anew as a whole is noticed by nothing else. So is one that was cut back.

--file reads files that --audit-file of a node wrote, the oldest first, verifies
them and compares them with the cluster. They fail if they are empty, begin behind the
oldest record that the cluster keeps, have gaps (--allow-gaps accepts both), or end
before the cluster's newest record. Behind their end they may lack what is not older
than 5 seconds, by the clocks of this machine and of the leader, and --max-lag
records. Without --server they are verified alone, and nothing says whether their
end is missing, except for a noted --head that they have to come up to.

` + exitHelp,
		Args: noArguments,
		RunE: f.checked(func(cmd *cobra.Command, args []string) error {
			if len(f.servers) == 0 && len(f.files) > 0 {
				return f.run(cmd.Context(), cmd, nil, args)
			}
			return f.with(a, f.run)(cmd, args)
		}),
	}
	f.connection.addTo(cmd, 0)
	f.output.addTo(cmd)
	cmd.Flags().StringArrayVar(&f.files, "file", nil, "file of JSON lines that a node wrote; more than once: the oldest first")
	cmd.Flags().StringSliceVar(&f.heads, "head", nil, "SEQ:HASH that was noted earlier")
	cmd.Flags().BoolVar(&f.allowGaps, "allow-gaps", false, "accept files that lack records at their beginning or where a line says so")
	cmd.Flags().Uint64Var(&f.maxLag, "max-lag", 0, "accept files that lack so many of the newest records, such as copies that are taken now and then")
	_ = cmd.MarkFlagFilename("file")
	return cmd
}

func (f *auditVerification) run(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	var noted []audit.Head
	for _, text := range f.heads {
		h, err := audit.ParseHead(text)
		if err != nil {
			return usagef("--head: %w", err)
		}
		noted = append(noted, h)
	}
	report, err := f.verify(ctx, c, noted)
	if report == nil {
		return err
	}
	return errors.Join(err, f.print(cmd.OutOrStdout(), report, func(g *grid) { auditVerifyTable(g, report, err == nil) }))
}

// verify asks the cluster, if there is one, for its newest record before the files
// are read, so that what comes to be meanwhile is not lacking in them.
func (f *auditVerification) verify(ctx context.Context, c *client.Client, noted []audit.Head) (*auditverify.Report, error) {
	if len(f.files) == 0 && (f.allowGaps || f.maxLag > 0) || c == nil && f.maxLag > 0 {
		return nil, usagef("--allow-gaps is about --file, and --max-lag about --file and a server")
	}
	bounds := auditverify.Bounds{AllowGaps: f.allowGaps, MaxLag: f.maxLag, Asked: time.Now()}
	if c != nil && len(f.files) > 0 {
		var err error
		if bounds.Newest, err = auditverify.Newest(ctx, c); err != nil {
			return nil, err //nolint:wrapcheck // says what it is
		}
	}
	shipped, err := f.read(noted)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return shipped.Report(bounds) //nolint:wrapcheck // says what it is
	}
	return auditverify.Cluster(ctx, c, shipped, bounds) //nolint:wrapcheck // says what it is
}

// read verifies the files.
func (f *auditVerification) read(noted []audit.Head) (*auditverify.Shipped, error) {
	var files []auditverify.File
	for _, name := range f.files {
		file, err := os.Open(name)
		if err != nil {
			return nil, usagef("--file: %w", err)
		}
		defer func() { _ = file.Close() }()
		files = append(files, auditverify.File{Name: name, Reader: file})
	}
	return auditverify.ReadFiles(files, noted) //nolint:wrapcheck // names the file
}

// auditVerifyTable ends with the head only if it is worth to be noted.
func auditVerifyTable(g *grid, r *auditverify.Report, good bool) {
	for _, gap := range r.Gaps {
		g.note("gap: the files lack records %d to %d: %s", gap.First, gap.Last, gap.Reason)
	}
	for _, note := range r.Notes {
		g.note("note: %s", note)
	}
	if r.Records >= 0 {
		g.note("%s of the cluster verified, from %d to %d", plural(r.Records, "record"), r.Anchor.Seq+1, r.Head.Seq)
	}
	if r.FileRecords > 0 {
		text := fmt.Sprintf("%s of files verified, from %d to %d", plural(r.FileRecords, "record"), r.FileFirst, r.FileLast)
		if r.Records >= 0 {
			text += fmt.Sprintf("; the cluster's newest is %d", r.Head.Seq)
		}
		g.note("%s", text)
	}
	if good {
		g.note("head: %s", r.Head)
	}
}
