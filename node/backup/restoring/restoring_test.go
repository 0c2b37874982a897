package restoring

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/backup"
)

// keyVault has the right key, or an error.
type keyVault struct{ err error }

func (v keyVault) OpenBackup(_ context.Context, m *backup.Manifest) (backup.Key, error) {
	if v.err != nil {
		return backup.Key{}, v.err
	}
	return backup.NewKey(make([]byte, 32), m.ClusterID, m.FileID)
}

// fileOf is a backup whose stream has so many bytes.
func fileOf(t *testing.T, size int, change ...func(*backup.Manifest)) []byte {
	t.Helper()
	m := &backup.Manifest{FileID: backup.NewFileID(), ClusterID: "c1", MadeAt: time.Unix(1e9, 0).UTC(), Index: 7, SnapshotFormat: fsm.SnapshotFormat, Keyring: []byte("k")}
	for _, f := range change {
		f(m)
	}
	key, err := keyVault{}.OpenBackup(t.Context(), m)
	require.NoError(t, err)
	var out bytes.Buffer
	w, err := backup.NewWriter(&out, key, m)
	require.NoError(t, err)
	stream := make([]byte, size)
	for i := range stream {
		stream[i] = byte(i % 251)
	}
	_, err = w.Write(stream)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func newRestorer(t *testing.T) *Restorer {
	t.Helper()
	return New(t.TempDir(), nil)
}

// isEmpty: nothing is left on the disk.
func isEmpty(t *testing.T, r *Restorer) {
	t.Helper()
	list, err := os.ReadDir(r.Folder)
	require.NoError(t, err)
	require.Empty(t, list)
}

func receive(t *testing.T, r *Restorer, file []byte) *File {
	t.Helper()
	f, err := r.Receive(t.Context(), keyVault{}, bytes.NewReader(file))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	f.examined = true // what is in it is no state
	return f
}

func TestReceive(t *testing.T) {
	t.Parallel()
	r := newRestorer(t)
	f := receive(t, r, fileOf(t, 1000))
	require.Equal(t, "c1", f.Manifest.ClusterID)
	require.Equal(t, int64(1000), f.Trailer.Bytes)
	_, err := r.Receive(t.Context(), keyVault{}, bytes.NewReader(nil))
	require.ErrorIs(t, err, ErrBusy)
	require.NoError(t, f.Close())
	require.NoError(t, f.Close(), "twice")
	isEmpty(t, r)
	require.NoError(t, receive(t, r, fileOf(t, 10)).Close(), "the next one")
}

// Whatever goes wrong, nothing stays on the disk and the next one is let in.
func TestReceiveFails(t *testing.T) {
	t.Parallel()
	file := fileOf(t, 5000)
	gone := errors.New("the caller is gone")
	for name, c := range map[string]struct {
		in    io.Reader
		vault keyVault
		free  func() (uint64, error)
		want  error
	}{
		"caller gone":    {in: io.MultiReader(bytes.NewReader(file[:500]), iotest.ErrReader(gone)), want: gone},
		"cut off":        {in: bytes.NewReader(file[:500]), want: backup.ErrTruncated},
		"no backup":      {in: bytes.NewReader(file[1:]), want: backup.ErrNotABackup},
		"foreign":        {in: bytes.NewReader(file), vault: keyVault{backup.ErrForeign}, want: backup.ErrForeign},
		"sealed":         {in: bytes.NewReader(file), vault: keyVault{node.ErrSealed}, want: node.ErrSealed},
		"no space":       {in: bytes.NewReader(file), free: func() (uint64, error) { return keepFree, nil }, want: ErrNoSpace},
		"no space later": {in: bytes.NewReader(file), free: (&shrinking{left: keepFree + lookEvery}).free, want: ErrNoSpace},
		"disk broken":    {in: bytes.NewReader(file), free: func() (uint64, error) { return 0, gone }, want: gone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRestorer(t)
			r.free = c.free
			_, err := r.Receive(t.Context(), c.vault, c.in)
			require.ErrorIs(t, err, c.want)
			isEmpty(t, r)
			r.free = nil
			require.NoError(t, receive(t, r, file).Close())
		})
	}
	r := newRestorer(t)
	r.Folder = filepath.Join(r.Folder, "none")
	_, err := r.Receive(t.Context(), keyVault{}, bytes.NewReader(file))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.False(t, r.busy.Load())
}

// shrinking is a disk that fills up.
type shrinking struct{ left uint64 }

func (s *shrinking) free() (uint64, error) {
	was := s.left
	s.left = keepFree
	return was, nil
}

// What a process left that was killed goes when the next one starts.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	left, other := filepath.Join(dir, prefix+"1"), filepath.Join(dir, "raft.db")
	for _, path := range []string{left, other} {
		require.NoError(t, os.WriteFile(path, nil, 0o600))
	}
	New(dir, nil)
	require.NoFileExists(t, left)
	require.FileExists(t, other)
}

// machine takes commands as a leader does; each may get another outcome.
type machine struct {
	staged    []byte
	parts     int
	finished  *fsmpb.FinishRestore
	abandoned int
	outcome   func(cmd *fsmpb.Command, apply func()) (any, error)
	state     *fsm.Machine
}

func (m *machine) View() *fsm.View { return m.state.View() }

func (m *machine) Propose(_ context.Context, cmd *fsmpb.Command) (value any, err error) {
	apply := func() {
		switch b := cmd.GetBody().(type) {
		case *fsmpb.Command_StageRestore:
			if s := b.StageRestore; int(s.GetSequence()) == m.parts {
				m.staged, m.parts = append(m.staged, s.GetData()...), m.parts+1
			}
		case *fsmpb.Command_FinishRestore:
			m.finished, value = b.FinishRestore, fsm.Restored(3)
		case *fsmpb.Command_AbandonRestore:
			m.abandoned++
		}
	}
	if m.outcome != nil {
		if outcome, err := m.outcome(cmd, apply); err != nil {
			return outcome, err
		}
		return value, nil
	}
	apply()
	return value, nil
}

func TestRestoreStagesTheStream(t *testing.T) {
	t.Parallel()
	const size = 3*fsm.MaxStagePart + 17
	f := receive(t, newRestorer(t), fileOf(t, size))
	m := &machine{state: fsm.New()}
	done, err := f.Restore(t.Context(), m, Ask{Caller: &fsmpb.Caller{Name: "a"}}, Wish{Replace: "c0", Force: true})
	require.NoError(t, err)
	require.Equal(t, Done{Number: 3}, done)
	require.Equal(t, 4, m.parts)
	require.Len(t, m.staged, size)
	sum := sha256.Sum256(m.staged)
	require.Equal(t, sum[:], m.finished.GetSha256())
	require.Equal(t, "c1", m.finished.GetClusterId())
	require.Equal(t, "c0", m.finished.GetReplaces())
	require.True(t, m.finished.GetForce())
	require.Equal(t, uint64(7), m.finished.GetIndex())
	require.Equal(t, int64(1e12), m.finished.GetMadeWallMs())
	require.Zero(t, m.abandoned)
}

// Parts of unknown outcome are proposed again; what can not be staged is abandoned.
func TestRestoreUnderTrouble(t *testing.T) {
	t.Parallel()
	isPart := func(cmd *fsmpb.Command) bool { return cmd.GetStageRestore() != nil }
	for name, c := range map[string]struct {
		outcome func(n int, cmd *fsmpb.Command, apply func()) (any, error)
		want    error // nil is success
	}{
		"unknown, and applied": {func(n int, cmd *fsmpb.Command, apply func()) (any, error) {
			apply()
			if isPart(cmd) && n%2 == 1 {
				return nil, node.ErrUnknownOutcome
			}
			return nil, nil //nolint:nilnil // as Propose
		}, nil},
		"unknown, and not applied": {func(n int, cmd *fsmpb.Command, apply func()) (any, error) {
			if isPart(cmd) && n%3 == 1 {
				return nil, node.ErrUnknownOutcome
			}
			apply()
			return nil, nil //nolint:nilnil // as Propose
		}, nil},
		"never": {func(_ int, cmd *fsmpb.Command, apply func()) (any, error) {
			if isPart(cmd) {
				return nil, node.ErrUnknownOutcome
			}
			apply()
			return nil, nil //nolint:nilnil // as Propose
		}, ErrStaging},
		"another leader": {func(n int, cmd *fsmpb.Command, apply func()) (any, error) {
			if isPart(cmd) && n > 1 {
				return nil, node.ErrNotLeader
			}
			apply()
			return nil, nil //nolint:nilnil // as Propose
		}, node.ErrNotLeader},
		"refused at the end": {func(_ int, cmd *fsmpb.Command, apply func()) (any, error) {
			if cmd.GetFinishRestore() != nil {
				return nil, fsm.Refused(fsm.DamagedBackup)
			}
			apply()
			return nil, nil //nolint:nilnil // as Propose
		}, fsm.Refused(fsm.DamagedBackup)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := receive(t, newRestorer(t), fileOf(t, 2*fsm.MaxStagePart))
			m, n := &machine{state: fsm.New()}, 0
			m.outcome = func(cmd *fsmpb.Command, apply func()) (any, error) {
				n++
				return c.outcome(n, cmd, apply)
			}
			_, err := f.Restore(t.Context(), m, Ask{}, Wish{})
			if c.want == nil {
				require.NoError(t, err)
				require.Len(t, m.staged, 2*fsm.MaxStagePart)
				return
			}
			require.ErrorIs(t, err, c.want)
			require.NotErrorIs(t, err, node.ErrUnknownOutcome, "nothing happened")
			require.Equal(t, 1, m.abandoned)
		})
	}
}

// The end is looked for in the state; if it does not show there it is unknown, and what
// was staged is left alone.
func TestEndOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	file := fileOf(t, 10)
	synctest.Test(t, func(t *testing.T) {
		f := receive(t, newRestorer(t), file)
		m := &machine{state: fsm.New()}
		m.outcome = func(cmd *fsmpb.Command, apply func()) (any, error) {
			if cmd.GetFinishRestore() != nil {
				return nil, node.ErrUnknownOutcome
			}
			apply()
			return nil, nil //nolint:nilnil // as Propose
		}
		_, err := f.Restore(t.Context(), m, Ask{}, Wish{})
		require.ErrorIs(t, err, node.ErrUnknownOutcome)
		require.Zero(t, m.abandoned)
	})
}

// The disk may change a file after it was checked.
func TestFileThatChangesOnDisk(t *testing.T) {
	t.Parallel()
	f := receive(t, newRestorer(t), fileOf(t, 2*fsm.MaxStagePart))
	_, err := f.file.WriteAt([]byte("?"), fsm.MaxStagePart+4000)
	require.NoError(t, err)
	m := &machine{state: fsm.New()}
	_, err = f.Restore(t.Context(), m, Ask{}, Wish{})
	require.ErrorIs(t, err, backup.ErrDamaged)
	require.Nil(t, m.finished)
	require.Equal(t, 1, m.abandoned)
}

func TestCheckOfNewerStates(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*backup.Manifest){
		"stream": func(m *backup.Manifest) { m.SnapshotFormat = fsm.SnapshotFormat + 1 },
		"level":  func(m *backup.Manifest) { m.FeatureLevel = fsm.FeatureLevel + 1 },
	} {
		f := receive(t, newRestorer(t), fileOf(t, 10, change))
		require.ErrorIs(t, f.Check(fsm.New().View(), Wish{}), ErrNewerState, name)
	}
}
