package seal

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// countingKEK counts how often it was used, and fails when told to.
type countingKEK struct {
	KEK
	mu      sync.Mutex
	unwraps int
	broken  error
}

func (c *countingKEK) Unwrap(ctx context.Context, clusterID string, wrapped, additional []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unwraps++
	if c.broken != nil {
		return nil, c.broken
	}
	return c.KEK.Unwrap(ctx, clusterID, wrapped, additional) //nolint:wrapcheck // a test double
}

func TestVaultOpensOnce(t *testing.T) {
	t.Parallel()
	kek := &countingKEK{KEK: kekOf(t, keyOf("a"))}
	_, first := ringOf(t, kek.KEK, testCluster)
	_, second := ringOf(t, kek.KEK, testCluster)
	v := NewVault(kek)
	before := stateWith(t, first)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { _, _ = v.Keyring(before) })
	}
	all.Wait()
	ring, err := v.Keyring(before)
	require.NoError(t, err)
	require.Equal(t, 1, kek.unwraps)

	other, err := v.Keyring(stateWith(t, second)) // after a restore, say
	require.NoError(t, err)
	require.NotSame(t, ring, other)
	require.Equal(t, 2, kek.unwraps)
	sealed, err := other.Seal("seed", "1", nil)
	require.NoError(t, err)
	_, err = ring.Open("seed", "1", sealed)
	require.ErrorIs(t, err, ErrOpen)
}

func TestVaultWithoutAKeyring(t *testing.T) {
	t.Parallel()
	state := stateWith(t, nil)
	v := NewVault(kekOf(t, keyOf("a")))
	_, err := v.Keyring(state)
	require.ErrorIs(t, err, node.ErrSealed)
	reason, ok := v.Usable(state)
	require.True(t, ok, "could make one: %s", reason)

	v = NewVault(kekOf(t, "no key"))
	reason, ok = v.Usable(state)
	require.False(t, ok)
	require.Contains(t, reason, "64 hex digits")
}

func TestVaultWithTheWrongKey(t *testing.T) {
	t.Parallel()
	_, record := ringOf(t, kekOf(t, keyOf("a")), testCluster)
	state := stateWith(t, record)
	path := kekFile(t, keyOf("b"), 0o600)
	v := NewVault(fileKEK{path: path})
	for range 2 {
		_, err := v.Keyring(state)
		require.ErrorIs(t, err, node.ErrSealed)
		require.ErrorIs(t, err, ErrNotWrapped)
		reason, ok := v.Usable(state)
		require.False(t, ok)
		require.Contains(t, reason, "sealed")
	}
	require.NoError(t, os.WriteFile(path, []byte(keyOf("a")), 0o600)) // mended while running
	_, err := v.Keyring(state)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	_, err = v.Keyring(state)
	require.NoError(t, err, "what is open stays open")
}

func TestVaultWithALateKey(t *testing.T) {
	t.Parallel()
	_, record := ringOf(t, kekOf(t, keyOf("a")), testCluster)
	state := stateWith(t, record)
	path := filepath.Join(t.TempDir(), "kek")
	v := NewVault(fileKEK{path: path})
	_, err := v.Keyring(state)
	require.ErrorIs(t, err, node.ErrSealed)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte(keyOf("a")), 0o600))
	_, err = v.Keyring(state)
	require.NoError(t, err)
}

// A file that could not be read just then must not seal the node for good; a
// wrong key is not tried over and over.
func TestWhatTheVaultRemembers(t *testing.T) {
	t.Parallel()
	kek := &countingKEK{KEK: kekOf(t, keyOf("a")), broken: errors.New("input/output error")}
	_, record := ringOf(t, kek.KEK, testCluster)
	v := NewVault(kek)
	_, err := v.Keyring(stateWith(t, record))
	require.ErrorIs(t, err, node.ErrSealed)
	require.ErrorIs(t, err, kek.broken)
	kek.broken = ErrOpen
	for range 3 {
		_, err = v.Keyring(stateWith(t, record))
		require.ErrorIs(t, err, ErrOpen)
	}
	require.Equal(t, 2, kek.unwraps)
	kek.broken = nil
	_, other := ringOf(t, kek.KEK, testCluster)
	_, err = v.Keyring(stateWith(t, other))
	require.NoError(t, err, "another record is tried")
}

// The duty gives a new cluster its keyring, once.
func TestDutyFoundsTheKeyring(t *testing.T) {
	t.Parallel()
	v := NewVault(kekOf(t, keyOf("a")))
	rival := NewVault(kekOf(t, keyOf("a")))
	n := lead(t, t.TempDir(), v, v.Duty(), rival.Duty()) // two at once, as after a change of leader
	ring, err := v.Keyring(n.View())
	require.NoError(t, err)
	record := n.View().Secret(fsm.SecretKeyring).GetSealed()
	require.NotNil(t, record)
	again, err := rival.Keyring(n.View())
	require.NoError(t, err)
	sealed, err := ring.Seal("seed", "1", []byte("x"))
	require.NoError(t, err)
	_, err = again.Open("seed", "1", sealed)
	require.NoError(t, err)

	audits := 0
	for range n.View().Audit(0) {
		audits++
	}
	require.Equal(t, 1, audits, "installed twice")
}

func TestKeyringOutlivesARestart(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := kekFile(t, keyOf("a"), 0o600)
	v := NewVault(fileKEK{path: path})
	n := lead(t, folder, v, v.Duty())
	ring, err := v.Keyring(n.View())
	require.NoError(t, err)
	sealed, err := ring.Seal("seed", "1", []byte("x"))
	require.NoError(t, err)
	key := *ring.keys[1].bytes
	require.NoError(t, n.Close())

	for _, file := range []string{"raft.db", "node-id"} { // on disk the keys are ciphertext
		b, err := os.ReadFile(filepath.Join(folder, file))
		require.NoError(t, err)
		noKey(t, b, key[:])
		noKey(t, b, unhex(t, keyOf("a")))
	}
	v = NewVault(fileKEK{path: path})
	n = lead(t, folder, v, v.Duty())
	ring, err = v.Keyring(n.View())
	require.NoError(t, err)
	plain, err := ring.Open("seed", "1", sealed)
	require.NoError(t, err)
	require.Equal(t, "x", string(plain))
}

// lead starts a cluster of one on the folder and waits until it has a keyring.
func lead(t *testing.T, folder string, v *Vault, duties ...node.Duty) *node.Node {
	t.Helper()
	link, err := node.Listen(t.Context(), "127.0.0.1:0", "")
	require.NoError(t, err)
	n, err := node.Open(node.Config{
		Name: "n1", DataDir: folder, APIAdvertise: "http://n1.test", Vault: v,
		HeartbeatTimeout: 100 * time.Millisecond, ElectionTimeout: 100 * time.Millisecond, LeaseTimeout: 50 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}, link)
	require.NoError(t, err)
	t.Cleanup(func() { _ = n.Close() })
	n.Start(duties...)
	if !n.HasState() {
		require.NoError(t, n.Bootstrap([]raft.Server{{ID: raft.ServerID(n.ID()), Address: raft.ServerAddress(link.Advertised())}}))
	}
	require.Eventually(t, func() bool {
		return n.Status().IsLeader && n.View().Secret(fsm.SecretKeyring) != nil && n.Barrier(t.Context()) == nil
	}, 20*time.Second, 5*time.Millisecond)
	return n
}
