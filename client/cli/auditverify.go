package cli

import (
	"context"
	"os"

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
them and compares them with the cluster; without --server they are verified alone.

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
	shipped, err := f.read(noted)
	if err != nil {
		return err
	}
	var report *auditverify.Report
	if c == nil {
		report, err = shipped.Report()
	} else {
		report, err = auditverify.Cluster(ctx, c, shipped)
	}
	if err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	return f.print(cmd.OutOrStdout(), report, func(g *grid) { auditVerifyTable(g, report) })
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

func auditVerifyTable(g *grid, r *auditverify.Report) {
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
		g.note("%s of files verified", plural(r.FileRecords, "record"))
	}
	g.note("head: %s", r.Head)
}
