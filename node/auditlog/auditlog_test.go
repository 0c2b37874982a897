package auditlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestEveryRecordOnceInOrder(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.change(2*batchRecords + 7)
	s.ship()
	s.requireAll(1, s.path())
	info, err := os.Stat(s.path())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	s.change(1)
	s.open()
	s.ship()
	s.ship()
	s.requireAll(1, s.path())
	require.True(t, s.shipper.Check().OK)
	require.Zero(t, s.shipper.Lag())
}

// TestTornLinesAreMended cuts the file at every byte of its last two lines.
func TestTornLinesAreMended(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.change(3)
	s.ship()
	whole, err := os.ReadFile(s.path())
	require.NoError(t, err)
	for cut := len(whole); cut > len(whole)-700 && cut >= 0; cut-- {
		require.NoError(t, os.WriteFile(s.path(), whole[:cut], 0o600))
		s.open()
		s.ship()
		after, err := os.ReadFile(s.path())
		require.NoError(t, err)
		if cut > bytes.IndexByte(whole, '\n') {
			require.Equal(t, whole, after, "cut at %d", cut)
		}
	}
	first := bytes.IndexByte(whole, '\n') + 1
	zeros := append(bytes.Clone(whole[:first]), make([]byte, 300)...)
	for _, damage := range [][]byte{zeros, append(bytes.Clone(zeros), '\n'), append(bytes.Clone(whole[:first+9]), zeros[first:]...)} {
		require.NoError(t, os.WriteFile(s.path(), damage, 0o600))
		s.open()
		s.ship()
		after, err := os.ReadFile(s.path())
		require.NoError(t, err)
		require.Equal(t, whole, after, "a power cut left zeros")
	}
}

// TestForeignFilesAreLeftAlone: a slip in --audit-file costs nothing.
func TestForeignFilesAreLeftAlone(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for name, content := range map[string]string{
		"text": "hello\n", "no end": "hello", "json": `{"a":1}` + "\n", "begins alike": `{"seq":1}` + "\n",
		"long": string(bytes.Repeat([]byte("x"), 3*audit.MaxLine)), "blank": "\n",
	} {
		cfg := s.config()
		cfg.Path = filepath.Join(s.dir, "foreign")
		require.NoError(t, os.WriteFile(cfg.Path, []byte(content), 0o600))
		_, err := Open(cfg)
		require.ErrorIs(t, err, ErrForeignFile, name)
		after, err := os.ReadFile(cfg.Path)
		require.NoError(t, err)
		require.Equal(t, content, string(after), name)
	}
	cfg := s.config()
	cfg.Path = filepath.Join(s.dir, "pipe")
	require.NoError(t, unix.Mkfifo(cfg.Path, 0o600))
	_, err := Open(cfg)
	require.ErrorIs(t, err, ErrForeignFile)
	cfg.Path = filepath.Join(s.dir, "no", "folder")
	_, err = Open(cfg)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Open(s.config())
	require.ErrorIs(t, err, ErrInUse)
}

func TestRotation(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.change(3)
	s.ship()
	old := s.path() + ".1"
	require.NoError(t, os.Rename(s.path(), old))
	s.change(2)
	s.ship()
	s.requireAll(1, old, s.path())

	older := s.path() + ".2" // rotated away while the node was stopped
	require.NoError(t, os.Rename(s.path(), older))
	s.change(2)
	s.open()
	s.ship()
	s.requireAll(1, old, older, s.path())

	kept, err := os.ReadFile(s.path()) // copytruncate
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.path()+".3", kept, 0o600))
	require.NoError(t, os.Truncate(s.path(), 0))
	s.change(2)
	s.ship()
	s.requireAll(1, old, older, s.path()+".3", s.path())
}

func TestGapsAreSaid(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.change(2)
	s.ship()
	s.restore(9, 5) // a snapshot of a state that kept five records only
	s.change(1)
	s.ship()
	lines := s.lines(s.path())
	gap := lines[3].Gap
	require.NotNil(t, gap)
	require.Equal(t, []uint64{4, 8}, []uint64{gap.First, gap.Last}, "%+v", gap)
	require.Equal(t, s.machine.View().AuditAnchor().Hash, gap.Anchor)
	chain := audit.NewChain(audit.Head{Seq: gap.Last, Hash: gap.Anchor})
	for _, l := range lines[4:] {
		require.NoError(t, chain.Next(*l.Record))
	}
	require.Equal(t, s.machine.View().AuditHead(), chain.Head())
}

// TestAnotherHistoryIsSaid: after a restore from a backup the same numbers mean
// other records; the file says so and has all that are kept.
func TestAnotherHistoryIsSaid(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.change(5)
	s.ship()
	s.machine, s.index, s.spare = fsm.New(), 0, 100
	other := newStage(t)
	s.machine, s.index = other.machine, other.index
	s.change(2)
	s.ship()
	require.Len(t, s.lines(s.path()), 6, "shorter than the file: nothing is known yet")
	require.Contains(t, s.shipper.Check().Detail, "this node has applied them up to 3")
	s.change(4)
	s.ship()
	lines := s.lines(s.path())
	require.Contains(t, lines[6].Gap.Reason, "history is another one")
	require.EqualValues(t, 1, lines[7].Record.Seq)
	require.EqualValues(t, 7, lines[len(lines)-1].Record.Seq)
}

// TestTroubleIsAStateThatEnds: the file's folder goes away and comes back.
func TestTroubleIsAStateThatEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { require.NoError(t, s.shipper.Run(ctx)) })
		settle := func(d time.Duration) {
			pause(ctx, d) // in the bubble's time
			synctest.Wait()
		}
		s.change(2)
		settle(2 * gather)
		s.requireAll(1, s.path())
		away := s.dir + ".away"
		require.NoError(t, os.Rename(s.dir, away))
		s.change(2)
		settle(2 * gather)
		check := s.shipper.Check()
		require.False(t, check.OK)
		require.Contains(t, check.Detail, "not written since record 3: ")
		require.EqualValues(t, 2, s.shipper.Lag())
		require.NoError(t, os.Rename(away, s.dir))
		settle(2 * lastRetry)
		require.True(t, s.shipper.Check().OK)
		s.requireAll(1, s.path())
		stop()
		running.Wait()
	})
}

// TestARestoreIsSaid: the records of a restored history follow at once, although their
// numbers go back, and once only, also over a start of the node.
func TestARestoreIsSaid(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.apply(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	var data bytes.Buffer
	view := s.machine.View()
	_, err := view.WriteTo(&data)
	require.NoError(t, err)
	s.change(50)
	s.ship()
	before := len(s.lines(s.path()))
	sum := sha256.Sum256(data.Bytes())
	s.apply(&fsmpb.Command{Body: &fsmpb.Command_StageRestore{StageRestore: &fsmpb.StageRestore{RestoreId: "r", Data: data.Bytes()}}})
	s.apply(&fsmpb.Command{Body: &fsmpb.Command_FinishRestore{FinishRestore: &fsmpb.FinishRestore{
		RestoreId: "r", Sha256: sum[:], Index: view.Meta().GetAppliedIndex(), ClusterId: "c",
	}}})
	s.ship()
	lines := s.lines(s.path())
	require.Contains(t, lines[before].Gap.Reason, "a backup was restored (restore 1)")
	require.EqualValues(t, 1, lines[before+1].Record.Seq)
	require.Equal(t, "restore.finish", lines[len(lines)-1].Record.Action)
	s.open()
	s.apply(&fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n"}}})
	s.ship()
	require.Len(t, s.lines(s.path()), len(lines)+1, "said once")
}
