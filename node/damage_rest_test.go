package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/raftlog"
)

// What can not be read is not damaged: another try, or the right user, may read it.
func TestVerifyTellsUnreadFromDamaged(t *testing.T) {
	t.Parallel()
	whole := usedFolder(t)
	newest, older := newestOf(t, whole)
	for _, file := range []string{
		filepath.Join(newest, metaFile), filepath.Join(newest, stateFile), filepath.Join(newest, metaSumFile),
		filepath.Join(older, metaFile), filepath.Join(older, stateFile), filepath.Join(whole, raftlog.Folder, "MARK"),
	} {
		name, err := filepath.Rel(whole, file)
		require.NoError(t, err)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := copyFolder(t, whole)
			file := filepath.Join(path, name)
			require.NoError(t, os.Remove(file))
			require.NoError(t, os.Mkdir(file, 0o700)) // reading it fails for root, too
			err := openDamaged(t, path)
			require.NotErrorIs(t, err, ErrDamaged)
			require.ErrorContains(t, err, file)
			require.NotContains(t, err.Error(), "set the folder aside")
		})
	}
}

func TestVerifyNamesOlderSnapshots(t *testing.T) {
	t.Parallel()
	path := copyFolder(t, usedFolder(t))
	newest, older := newestOf(t, path)
	flipHalfway(t, filepath.Join(older, stateFile))
	j := &journal{}
	found, err := newestSnapshot(filepath.Join(path, snapshotsFolder), logTo(j))
	require.NoError(t, err)
	require.Equal(t, filepath.Base(newest), found.ID)
	require.True(t, j.has("level=WARN"))
	require.True(t, j.has("snapshot="+filepath.Base(older)))
	flipHalfway(t, filepath.Join(newest, stateFile))
	_, err = newestSnapshot(filepath.Join(path, snapshotsFolder), logTo(j))
	require.ErrorIs(t, err, ErrDamaged, "none is whole")
}

// What a crash left of snapshots goes at the next start, and no more than that.
func TestSweepOfSnapshotsThatCrashed(t *testing.T) {
	t.Parallel()
	m := newMember(t, &wires{}, "n1")
	m.cfg.DataDir = copyFolder(t, usedFolder(t))
	newest, older := newestOf(t, m.cfg.DataDir)
	left := filepath.Join(m.cfg.DataDir, snapshotsFolder, "9-999-1"+tmpSuffix)
	require.NoError(t, os.Mkdir(left, 0o700))
	put(t, left, stateFile, "half")
	m.open()
	m.down()
	require.NoDirExists(t, left)
	require.DirExists(t, newest)
	require.DirExists(t, older)
	require.True(t, m.journal.has(left))
}

// Entries that the newest snapshot has in it are not needed for a recovery; those behind
// it are.
func TestRecoverWithDamagedEntriesBelowTheSnapshot(t *testing.T) {
	t.Parallel()
	m := newMember(t, &wires{}, "n1")
	m.cfg.DataDir = copyFolder(t, usedFolder(t))
	snapshot, err := newestSnapshot(filepath.Join(m.cfg.DataDir, snapshotsFolder), logTo(m.journal))
	require.NoError(t, err)
	inLog(t, m.cfg.DataDir, func(db *pebble.DB) error {
		return errors.Join(db.Set(entryKey(5), []byte("garbage"), nil), db.Set(entryKey(snapshot.Index), []byte("garbage"), nil))
	})
	require.ErrorIs(t, verified(m.cfg.DataDir), ErrDamaged)
	before := m.inspect()
	require.True(t, m.journal.has("index=5 "))
	require.NotNil(t, before.View.Member(probe))

	worse := *m
	worse.cfg.DataDir = copyFolder(t, m.cfg.DataDir)
	inLog(t, worse.cfg.DataDir, func(db *pebble.DB) error {
		return db.Set(entryKey(snapshot.Index+1), []byte("garbage"), nil)
	})
	_, err = worse.recover("")
	require.ErrorIs(t, err, ErrDamaged)
	gone := *m
	gone.cfg.DataDir = copyFolder(t, m.cfg.DataDir)
	inLog(t, gone.cfg.DataDir, func(db *pebble.DB) error { return db.Delete(entryKey(snapshot.Index+1), nil) })
	_, err = gone.recover("")
	require.ErrorIs(t, err, ErrDamaged)

	_, err = m.recover("")
	require.NoError(t, err)
	require.NoError(t, verified(m.cfg.DataDir))
	require.NotNil(t, m.inspect().View.Member(probe))
}

func TestRecoverOnlyAsTheOwner(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	require.NoError(t, checkOwner(path, os.Geteuid()+1), "no data")
	put(t, path, idFile, "n1-00000000")
	require.NoError(t, checkOwner(path, os.Geteuid()))
	err := checkOwner(path, os.Geteuid()+1)
	require.ErrorIs(t, err, ErrNotOwner)
	require.ErrorContains(t, err, "Run it as that user")
}

func TestVerifyTellsWhoseAFileIs(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	denied := &fs.PathError{Op: "open", Path: filepath.Join(path, "gone", "x"), Err: fs.ErrPermission}
	require.Equal(t, error(denied), withOwnerFor(denied, os.Geteuid()), "its own")
	err := withOwnerFor(denied, os.Geteuid()+1)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorContains(t, err, path+" belongs to another user")
	require.Equal(t, fs.ErrNotExist, withOwnerFor(fs.ErrNotExist, 1))
}
