package seal

import (
	"context"
	"errors"
	"io/fs"
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

// moodyKEK counts how often it was used, and fails while told to.
type moodyKEK struct {
	KEK

	mu      sync.Mutex
	unwraps int
	broken  error
	version string
}

func (k *moodyKEK) mood(broken error, version string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.broken, k.version = broken, version
}

func (k *moodyKEK) used() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.unwraps
}

func (k *moodyKEK) Check(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return errors.Join(k.broken, k.KEK.Check(ctx))
}

func (k *moodyKEK) Identify(ctx context.Context, clusterID string) (Identity, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	identity, err := k.KEK.Identify(ctx, clusterID)
	identity.Version = k.version
	return identity, errors.Join(k.broken, err)
}

func (k *moodyKEK) Unwrap(ctx context.Context, clusterID string, wrapped, additional []byte) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unwraps++
	if k.broken != nil {
		return nil, k.broken
	}
	return k.KEK.Unwrap(ctx, clusterID, wrapped, additional) //nolint:wrapcheck // a test double
}

func TestVaultOpensOnce(t *testing.T) {
	t.Parallel()
	kek := &moodyKEK{KEK: kekOf(t, keyOf("a"))}
	_, first := ringOf(t, kek.KEK, testCluster)
	_, second := ringOf(t, kek.KEK, testCluster)
	before := stateWith(t, first)
	v := NewVault(nil, kek)
	_, err := v.Keyring(before)
	require.ErrorIs(t, err, node.ErrSealed, "whoever asks does not wait for a key-encryption key")
	require.NoError(t, v.Open(t.Context(), before))
	require.NoError(t, v.Open(t.Context(), before))
	ring, err := v.Keyring(before)
	require.NoError(t, err)
	require.Equal(t, 1, kek.used())

	after := stateWith(t, second)
	still, err := v.Keyring(after)
	require.NoError(t, err)
	require.Same(t, ring, still, "until the changed one is open, the one before serves")
	require.NoError(t, v.Open(t.Context(), after))
	other, err := v.Keyring(after)
	require.NoError(t, err)
	require.NotSame(t, ring, other)
	sealed, err := other.Seal("seed", "1", nil)
	require.NoError(t, err)
	_, err = ring.Open("seed", "1", sealed)
	require.ErrorIs(t, err, ErrOpen)
}

// A node that reads the log again opens a keyring of long ago, and must not lead with
// it while the last one is being opened: it opens nothing of what is there by then.
func TestVaultThatIsBehind(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("a"))
	s, leader := newSolo(t, kek)
	behind := NewVault(nil, kek)
	require.NoError(t, behind.Open(t.Context(), s.View()))
	require.NoError(t, leader.Rotate(t.Context(), s, Asker{}))
	_, usable := behind.Usable(s.View())
	require.True(t, usable, "nothing is sealed again yet")
	settle(t, s, leader)
	reason, usable := behind.Usable(s.View())
	require.False(t, usable)
	require.Contains(t, reason, "is being opened")
	_, err := behind.Keyring(s.View())
	require.ErrorIs(t, err, node.ErrSealed)
	intact(t, s.View(), behind)
}

func TestVaultWithoutAKeyring(t *testing.T) {
	t.Parallel()
	state := stateWith(t, nil)
	v := NewVault(nil, kekOf(t, keyOf("a")))
	_, ok := v.Usable(state)
	require.False(t, ok, "nobody has looked at the key yet")
	require.NoError(t, v.Open(t.Context(), state))
	_, err := v.Keyring(state)
	require.ErrorIs(t, err, node.ErrSealed)
	reason, ok := v.Usable(state)
	require.True(t, ok, "could make one: %s", reason)

	reason, ok = openVault(t, state, kekOf(t, "no key")).Usable(state)
	require.False(t, ok)
	require.Contains(t, reason, "64 hex digits")
	reason, ok = openVault(t, state).Usable(state)
	require.False(t, ok)
	require.Contains(t, reason, "none was given")
	_, ok = openVault(t, state, kekOf(t, "no key"), kekOf(t, keyOf("a"))).Usable(state)
	require.True(t, ok, "one is enough")
}

// What happened to the key shows, and ends when the key is there again.
func TestVaultThatCanNotOpen(t *testing.T) {
	t.Parallel()
	_, record := ringOf(t, kekOf(t, keyOf("a")), testCluster)
	state := stateWith(t, record)
	for name, tc := range map[string]struct {
		content *string
		want    error
	}{
		"another key":  {ptr(keyOf("b")), ErrNotWrapped},
		"no key":       {ptr("nonsense"), ErrKEK},
		"missing file": {nil, os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "kek")
			if tc.content != nil {
				require.NoError(t, os.WriteFile(path, []byte(*tc.content), 0o600))
			}
			v := NewVault(nil, fileKEK{path: path})
			require.ErrorIs(t, v.Open(t.Context(), state), tc.want)
			_, err := v.Keyring(state)
			require.ErrorIs(t, err, node.ErrSealed)
			require.ErrorIs(t, err, tc.want)
			reason, ok := v.Usable(state)
			require.False(t, ok)
			require.Contains(t, reason, "sealed")
			require.NoError(t, os.WriteFile(path, []byte(keyOf("a")), 0o600)) // mended while running
			require.NoError(t, v.Open(t.Context(), state))
			_, err = v.Keyring(state)
			require.NoError(t, err)
			require.NoError(t, os.Remove(path))
			require.NoError(t, v.Open(t.Context(), state))
			_, err = v.Keyring(state)
			require.NoError(t, err, "what is open stays open")
		})
	}
}

// The first key that opens is enough, and those that fail are named.
func TestSeveralKeys(t *testing.T) {
	t.Parallel()
	a, b := kekOf(t, keyOf("a")), kekOf(t, keyOf("b"))
	record, err := NewKeyring(t.Context(), testCluster, a, kekOf(t, "no key"), b)
	require.NoError(t, err)
	state := stateWith(t, record)
	require.Len(t, Wrapping(state), 2)
	for _, keks := range [][]KEK{{a}, {b}, {kekOf(t, "no key"), b}, {kekOf(t, keyOf("c")), a}} {
		require.NoError(t, NewVault(nil, keks...).Open(t.Context(), state))
	}
	err = NewVault(nil, kekOf(t, "no key"), kekOf(t, keyOf("c"))).Open(t.Context(), state)
	require.ErrorIs(t, err, ErrKEK)
	require.ErrorIs(t, err, ErrNotWrapped)
	_, err = NewKeyring(t.Context(), testCluster, kekOf(t, "no key"))
	require.ErrorIs(t, err, ErrKEK, "no keyring that nobody could open")
}

// Run tries again by itself, and keeps what was open while the key is away.
func TestRunOpensInTheEnd(t *testing.T) {
	t.Parallel()
	kek := &moodyKEK{KEK: kekOf(t, keyOf("a")), broken: errors.New("input/output error")}
	_, record := ringOf(t, kek.KEK, testCluster)
	state := stateWith(t, record)
	v := NewVault(slog.New(slog.NewTextHandler(t.Output(), nil)), kek)
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	running.Go(func() { _ = v.Run(ctx, func() *fsm.View { return state }) })
	require.Eventually(t, func() bool {
		_, err := v.Keyring(state)
		return errors.Is(err, kek.broken)
	}, 20*time.Second, time.Millisecond)
	require.Empty(t, v.Identities())
	kek.mood(nil, "")
	require.Eventually(t, func() bool {
		_, err := v.Keyring(state)
		return err == nil && len(v.Identities()) == 1 && len(v.Announced()) == 1
	}, 20*time.Second, time.Millisecond)
}

// The duty gives a new cluster its keyring, once.
func TestDutyFoundsTheKeyring(t *testing.T) {
	t.Parallel()
	v := NewVault(nil, kekOf(t, keyOf("a")))
	rival := NewVault(nil, kekOf(t, keyOf("a")))
	n := lead(t, t.TempDir(), v, v.Duty(), rival.Duty()) // two at once, as after a change of leader
	ring, err := v.Keyring(n.View())
	require.NoError(t, err)
	require.NoError(t, rival.Open(t.Context(), n.View()))
	again, err := rival.Keyring(n.View())
	require.NoError(t, err)
	sealed, err := ring.Seal("seed", "1", []byte("x"))
	require.NoError(t, err)
	_, err = again.Open("seed", "1", sealed)
	require.NoError(t, err)
	require.Equal(t, 1, audits(n.View(), "keyring.install"), "installed twice")
}

func audits(view *fsm.View, action string) int {
	n := 0
	for a := range view.Audit(0) {
		if a.GetAction() == action {
			n++
		}
	}
	return n
}

func TestKeyringOutlivesARestart(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := kekFile(t, keyOf("a"), 0o600)
	v := NewVault(nil, fileKEK{path: path})
	n := lead(t, folder, v, v.Duty())
	ring, err := v.Keyring(n.View())
	require.NoError(t, err)
	sealed, err := ring.Seal("seed", "1", []byte("x"))
	require.NoError(t, err)
	key := bytesOf(t, ring.keys[1])
	require.NoError(t, n.Close())

	searched := 0
	require.NoError(t, filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error { // on disk the keys are ciphertext
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path) //nolint:gosec // the test's own folder
		noKey(t, b, key)
		noKey(t, b, unhex(t, keyOf("a")))
		searched += len(b)
		return err
	}))
	require.Greater(t, searched, 1000)
	v = NewVault(nil, fileKEK{path: path})
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
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	running.Go(func() { _ = v.Run(ctx, n.View) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = n.Close()
	})
	n.Start(duties...)
	if !n.HasState() {
		require.NoError(t, n.Bootstrap([]raft.Server{{ID: raft.ServerID(n.ID()), Address: raft.ServerAddress(link.Advertised())}}))
	}
	require.Eventually(t, func() bool {
		_, err := v.Keyring(n.View())
		return n.Status().IsLeader && err == nil && n.Barrier(t.Context()) == nil
	}, 20*time.Second, 5*time.Millisecond)
	return n
}

func ptr[T any](v T) *T { return &v }
