package seal

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/backup"
)

func manifestOf(view *fsm.View) *backup.Manifest {
	return &backup.Manifest{FileID: backup.NewFileID(), ClusterID: view.Meta().GetClusterId(), Keyring: view.Secret(fsm.SecretKeyring).GetSealed()}
}

// agree tells whether a file that one key made is read by the other.
func agree(t *testing.T, m *backup.Manifest, made, read backup.Key) bool {
	t.Helper()
	var file bytes.Buffer
	w, err := backup.NewWriter(&file, made, m)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	_, _, err = backup.Verify(&file, &read)
	return err == nil
}

func TestBackupKeyIsFoundAgain(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("1"))
	_, record := ringOf(t, kek, testCluster)
	view := stateWith(t, record)
	m := manifestOf(view)
	made, err := openVault(t, view, kek).BackupKey(view, m.FileID)
	require.NoError(t, err)
	// By a node of another cluster, which has no keyring at all.
	read, err := NewVault(nil, kekOf(t, keyOf("2")), kek).OpenBackup(t.Context(), m)
	require.NoError(t, err)
	require.True(t, agree(t, m, made, read))
	other := *m
	other.FileID = backup.NewFileID()
	read, err = NewVault(nil, kek).OpenBackup(t.Context(), &other)
	require.NoError(t, err)
	require.False(t, agree(t, m, made, read), "a file's key is its own")
}

func TestBackupThatDoesNotOpen(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("1"))
	_, record := ringOf(t, kek, testCluster)
	m := manifestOf(stateWith(t, record))
	_, err := NewVault(nil, kekOf(t, keyOf("2"))).OpenBackup(t.Context(), m)
	require.ErrorIs(t, err, backup.ErrForeign)
	require.ErrorIs(t, err, ErrNotWrapped)
	missing, err := ParseKEK("file:/nowhere/at/all")
	require.NoError(t, err)
	_, err = NewVault(nil, missing).OpenBackup(t.Context(), m)
	require.ErrorIs(t, err, node.ErrSealed)
	for name, spoil := range map[string]func(*backup.Manifest){
		"other cluster": func(m *backup.Manifest) { m.ClusterID = "other" },
		"no keyring":    func(m *backup.Manifest) { m.Keyring = []byte("{}") },
		"nonsense":      func(m *backup.Manifest) { m.Keyring = []byte(strings.Repeat("[", 9)) },
	} {
		bad := *m
		spoil(&bad)
		_, err := NewVault(nil, kek).OpenBackup(t.Context(), &bad)
		require.ErrorIs(t, err, backup.ErrForeign, name)
	}
}

func TestBackupKeyNeedsTheKeyring(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("1"))
	_, record := ringOf(t, kek, testCluster)
	view := stateWith(t, record)
	_, err := NewVault(nil, kek).BackupKey(view, backup.NewFileID())
	require.ErrorIs(t, err, node.ErrSealed)
	_, err = openVault(t, stateWith(t, nil), kek).BackupKey(stateWith(t, nil), backup.NewFileID())
	require.ErrorIs(t, err, node.ErrSealed)
	// While a changed keyring is being opened, the one before serves; but a file that it
	// authenticated would not open by the keyring that is in the state.
	vault := openVault(t, view, kek)
	_, next := ringOf(t, kek, testCluster)
	_, err = vault.BackupKey(stateWith(t, next), backup.NewFileID())
	require.ErrorIs(t, err, node.ErrSealed)
}

// Another root key is another key of backups: who has a key-encryption key that was
// removed can not make a backup of what came after.
func TestBackupKeyChangesWithTheRootKey(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("1"))
	_, record := ringOf(t, kek, testCluster)
	r, err := openRooted(t.Context(), testCluster, record, []KEK{kek})
	require.NoError(t, err)
	m := &backup.Manifest{FileID: backup.NewFileID(), ClusterID: testCluster, Keyring: record}
	before, err := r.backupKey(m.FileID)
	require.NoError(t, err)
	r.rotate()
	after, err := r.backupKey(m.FileID)
	require.NoError(t, err)
	require.True(t, agree(t, m, before, after), "a new data key changes nothing")
	require.NoError(t, r.reroot(t.Context(), []KEK{kek}))
	after, err = r.backupKey(m.FileID)
	require.NoError(t, err)
	require.False(t, agree(t, m, before, after))
	m.Keyring, err = r.encode()
	require.NoError(t, err)
	read, err := NewVault(nil, kek).OpenBackup(t.Context(), m)
	require.NoError(t, err)
	require.True(t, agree(t, m, after, read), "and is the one in the new record")
}
