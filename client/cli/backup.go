package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/node/backup"
)

// backingUp holds the flags of backup.
type backingUp struct {
	connection

	out   string
	stale bool
}

func (a *app) backupCommand() *cobra.Command {
	f := &backingUp{}
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "fetch a backup of the whole state",
		Long: `Fetches one consistent state of the cluster into a file: from the leader, with all
that was acknowledged before, or with --stale from any member, also without a leader.
What was received is checked before the file gets its name.

What is secret in it is sealed, and opens only with a key-encryption key of the
cluster (--seal of the servers), which is not in it: keep both, and not in the same
place. Names, counts and public keys are not secret to who has the file.

` + exitHelp,
		Args: noArguments,
		RunE: f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
			return f.run(ctx, cmd, a, c)
		}),
	}
	f.addTo(cmd, 0)
	cmd.Flags().StringVarP(&f.out, "output", "o", "", "file to write, which is replaced if it is there; - is standard output (default: a name with cluster and time, in this folder)")
	cmd.Flags().BoolVar(&f.stale, "stale", false, "take the state of any member, which may be behind")
	_ = cmd.MarkFlagFilename("output")
	cmd.AddCommand(a.backupVerifyCommand(), a.backupShowCommand(), a.backupStatusCommand())
	return cmd
}

func (f *backingUp) run(ctx context.Context, cmd *cobra.Command, a *app, c *client.Client) error {
	if slices.Contains(outputs, f.out) { // KEYSTEWARD_OUTPUT is for lists, too
		return usagef("--output %q: want the name of a file, such as ./%s", f.out, f.out)
	}
	m := a.meter(cmd.ErrOrStderr(), f.quiet)
	defer m.close()
	if f.out == "-" {
		if a.terminal(cmd.OutOrStdout()) {
			return usagef("a backup is not for a terminal: give --output FILE")
		}
		return f.toPipe(ctx, cmd.OutOrStdout(), m, c)
	}
	p := &partial{out: f.out}
	defer p.abandon()
	err := c.Backup(ctx, f.stale, func(name string) (io.Writer, error) {
		if err := p.begin(name); err != nil {
			return nil, err
		}
		return &progress{out: p.file, meter: m, now: a.now}, nil
	})
	if err != nil {
		return err
	}
	manifest, err := p.finish()
	if err != nil {
		return err
	}
	if !f.quiet {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", p.out, contents(manifest, p.size))
	}
	return nil
}

var errOnce = errors.New("it broke off, and what went into the pipe can not be taken back")

// toPipe checks a backup while it passes.
func (f *backingUp) toPipe(ctx context.Context, out io.Writer, m *meter, c *client.Client) error {
	in, check := io.Pipe()
	checked := make(chan error, 1)
	go func() { // ended by the pipe, and waited for below
		_, _, err := backup.Verify(in, nil)
		_ = in.CloseWithError(err)
		checked <- err
	}()
	began := false
	err := c.Backup(ctx, f.stale, func(string) (io.Writer, error) {
		if began {
			return nil, errOnce
		}
		began = true
		return &progress{out: io.MultiWriter(out, check), meter: m, now: time.Now}, nil
	})
	_ = check.Close()
	if wrong := <-checked; err == nil && wrong != nil {
		err = fmt.Errorf("what was received: %w", wrong)
	}
	return err
}

// partial is a file that gets its name once it is whole.
type partial struct {
	out  string
	file *os.File
	size int64
}

// begin makes the file beside its later place, or empties it.
func (p *partial) begin(name string) (err error) {
	if p.file != nil {
		if _, err := p.file.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("begin anew: %w", err)
		}
		return p.file.Truncate(0) //nolint:wrapcheck // names the file
	}
	if p.out == "" {
		if _, _, ok := backup.ParseName(name); !ok || name != filepath.Base(name) {
			return fmt.Errorf("%w: it calls the backup %.100q", client.ErrAnswer, name)
		}
		p.out = name
	}
	p.file, err = os.CreateTemp(filepath.Dir(p.out), ".keysteward-backup-*") // of mode 0600
	return err                                                               //nolint:wrapcheck // names the file
}

// finish checks what is on the disk, and gives it its name.
func (p *partial) finish() (m backup.Manifest, err error) {
	if err := p.file.Sync(); err != nil {
		return m, fmt.Errorf("write backup: %w", err)
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return m, fmt.Errorf("read back: %w", err)
	}
	if m, _, err = backup.Verify(p.file, nil); err != nil {
		return m, fmt.Errorf("what was received: %w", err)
	}
	if p.size, err = p.file.Seek(0, io.SeekCurrent); err != nil {
		return m, fmt.Errorf("read back: %w", err)
	}
	temporary := p.file.Name()
	if err := errors.Join(p.file.Close(), os.Rename(temporary, p.out)); err != nil {
		return m, fmt.Errorf("write backup: %w", err)
	}
	p.file = nil
	return m, syncDir(filepath.Dir(p.out))
}

// abandon removes what is not finished.
func (p *partial) abandon() {
	if p.file != nil {
		_ = p.file.Close()
		_ = os.Remove(p.file.Name())
	}
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	defer func() { _ = dir.Close() }()
	return dir.Sync() //nolint:wrapcheck // names the folder
}

// progress tells now and then how much has come.
type progress struct {
	out   io.Writer
	meter *meter
	now   func() time.Time
	n     int64
	told  time.Time
}

const tellEvery = 2 * time.Second

// Write implements io.Writer.
func (p *progress) Write(b []byte) (int, error) {
	n, err := p.out.Write(b)
	p.n += int64(n)
	switch now := p.now(); {
	case p.told.IsZero():
		p.told = now
	case now.Sub(p.told) >= tellEvery:
		p.told = now
		p.meter.say(megabytes(p.n) + " so far")
	}
	return n, err //nolint:wrapcheck // as io.Writer promises it
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// contents is one line about a backup.
func contents(m backup.Manifest, size int64) string {
	return fmt.Sprintf("%s, cluster %s at index %d, %s: %d keys, %d of them held, %d deposits, %d clouds",
		megabytes(size), m.ClusterID, m.Index, m.MadeAt.UTC().Format(time.RFC3339), m.Counts.Keys, m.Counts.Held, m.Counts.Deposits, m.Counts.Clouds)
}
