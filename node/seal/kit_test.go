package seal

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const testCluster = "c0ffee"

// keyOf is the 64 hex digits of a key that is one byte repeated.
func keyOf(digit string) string { return strings.Repeat(digit, 2*KeySize) }

// kekFile writes a key file and returns its description.
func kekFile(t testing.TB, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kek")
	require.NoError(t, os.WriteFile(path, []byte(content), mode))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

func kekOf(t testing.TB, content string) KEK {
	t.Helper()
	kek, err := ParseKEK("file:" + kekFile(t, content, 0o600))
	require.NoError(t, err)
	return kek
}

func ringOf(t *testing.T, kek KEK, clusterID string) (*Keyring, []byte) {
	t.Helper()
	encoded, err := NewKeyring(t.Context(), clusterID, kek)
	require.NoError(t, err)
	ring, err := openKeyring(t.Context(), kek, clusterID, encoded)
	require.NoError(t, err)
	return ring, encoded
}

// openKeyring opens a record as a vault does.
func openKeyring(ctx context.Context, kek KEK, clusterID string, encoded []byte) (*Keyring, error) {
	r, err := openRooted(ctx, clusterID, encoded, []KEK{kek})
	if err != nil {
		return nil, err
	}
	r.zero()
	return &r.Keyring, nil
}

// openVault is a vault that has tried to open the keyring of the state.
func openVault(t *testing.T, view *fsm.View, keks ...KEK) *Vault {
	t.Helper()
	v := NewVault(nil, keks...)
	_ = v.Open(t.Context(), view)
	return v
}

// fixedKey is a data key that begins with this byte.
func fixedKey(first byte) *secretBytes {
	return takeSecret(append([]byte{first}, make([]byte, KeySize-1)...))
}

func bytesOf(t *testing.T, s *secretBytes) (copied []byte) {
	t.Helper()
	require.NoError(t, s.use(func(b []byte) error {
		copied = append(copied, b...)
		return nil
	}))
	return copied
}

func unhex(t *testing.T, digits string) []byte {
	t.Helper()
	b, err := hex.DecodeString(digits)
	require.NoError(t, err)
	return b
}

// stateWith is a cluster's state, with a keyring unless that is nil.
func stateWith(t *testing.T, keyring []byte) *fsm.View {
	t.Helper()
	commands := []*fsmpb.Command{{Version: 1, Body: &fsmpb.Command_BeginSession{
		BeginSession: &fsmpb.BeginSession{NodeId: "n1", NewClusterId: testCluster},
	}}}
	if keyring != nil {
		commands = append(commands, &fsmpb.Command{
			Version: 1, Session: 1,
			Body: &fsmpb.Command_InstallKeyring{InstallKeyring: &fsmpb.InstallKeyring{Sealed: keyring}},
		})
	}
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: commands})
	require.NoError(t, err)
	m := fsm.New()
	results, err := m.Apply(1, 1, entry)
	require.NoError(t, err)
	for _, r := range results {
		require.NoError(t, r.Err())
	}
	return m.View()
}
