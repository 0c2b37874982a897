package restoring_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/backup"
	"github.com/keysteward/keysteward/node/backup/making"
	"github.com/keysteward/keysteward/node/backup/restoring"
	"github.com/keysteward/keysteward/node/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 10*time.Millisecond, what)
}

// member is a real node with a real vault.
type member struct {
	*node.Node
	vault    *seal.Vault
	restorer *restoring.Restorer
}

type cluster struct {
	t       *testing.T
	members []*member
}

func kekOf(t *testing.T, digit string) seal.KEK {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kek")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat(digit, 2*seal.KeySize)), 0o600))
	kek, err := seal.ParseKEK("file:" + path)
	require.NoError(t, err)
	return kek
}

// found starts three nodes that have the key-encryption keys, and waits until they
// have a keyring and know how to restore.
func found(t *testing.T, keks ...seal.KEK) *cluster {
	t.Helper()
	c := &cluster{t: t}
	var servers []raft.Server
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // ends after the nodes
	var running sync.WaitGroup
	for i := range 3 {
		link, err := node.Listen(t.Context(), "127.0.0.1:0", "")
		require.NoError(t, err)
		m := &member{vault: seal.NewVault(nil, keks...)}
		dir := t.TempDir()
		m.Node, err = node.Open(node.Config{
			Name: fmt.Sprintf("n%d", i), DataDir: dir, APIAdvertise: "http://x", Vault: m.vault, Logger: slog.New(slog.DiscardHandler),
			HeartbeatTimeout: time.Second, ElectionTimeout: time.Second, LeaseTimeout: 500 * time.Millisecond,
		}, link)
		require.NoError(t, err)
		m.restorer = restoring.New(dir, nil)
		m.Start(m.vault.Duty())
		running.Go(func() { _ = m.vault.Run(ctx, m.View) })
		c.members = append(c.members, m)
		servers = append(servers, raft.Server{ID: raft.ServerID(m.ID()), Address: raft.ServerAddress(link.Advertised())})
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			require.NoError(t, m.Close())
		}
		cancel()
		running.Wait()
	})
	require.NoError(t, c.members[0].Bootstrap(servers))
	eventually(t, "a keyring", func() bool {
		_, err := c.members[0].vault.Keyring(c.members[0].View())
		return err == nil
	})
	c.propose(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	return c
}

// leader is the member that has a session.
func (c *cluster) leader() *member {
	c.t.Helper()
	var leader *member
	eventually(c.t, "no leader", func() bool {
		for _, m := range c.members {
			if m.Status().IsLeader {
				leader = m
			}
		}
		return leader != nil
	})
	return leader
}

func (c *cluster) propose(cmd *fsmpb.Command) {
	c.t.Helper()
	eventually(c.t, "propose", func() bool {
		_, err := c.leader().Propose(c.t.Context(), cmd)
		return err == nil
	})
}

// load imports keys until it is stopped, and tells how many there are.
func (c *cluster) load() (stop func() int) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var n int
	var running sync.WaitGroup
	var mu sync.Mutex
	for worker := range uint64(4) {
		running.Go(func() {
			for i := uint64(0); ctx.Err() == nil; i++ {
				pubkey := make([]byte, fsm.PubkeyLength)
				binary.BigEndian.PutUint64(pubkey, worker<<32|i)
				leader := c.leader()
				ring, err := leader.vault.Keyring(leader.View())
				if err != nil {
					continue
				}
				sealed, err := ring.Seal(seal.KindKey, hex.EncodeToString(pubkey), make([]byte, 32))
				if err != nil {
					continue
				}
				_, err = leader.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_ImportKeys{ImportKeys: &fsmpb.ImportKeys{
					Keys: []*fsmpb.ImportedKey{{Pubkey: pubkey, Sealed: sealed}},
				}}})
				if err == nil {
					mu.Lock()
					n++
					mu.Unlock()
				}
			}
		})
	}
	return func() int { cancel(); running.Wait(); return n }
}

func keysOf(view *fsm.View) (n uint64) {
	for _, k := range view.Meta().GetKeyCounts() {
		n += k
	}
	return n
}

func (c *cluster) backup(from *member) []byte {
	c.t.Helper()
	maker := making.Maker{Vault: from.vault, Node: from.ID(), Program: "test"}
	b, err := maker.Prepare(from.View(), time.Now())
	require.NoError(c.t, err)
	var file bytes.Buffer
	_, err = b.WriteTo(&file)
	require.NoError(c.t, err)
	return file.Bytes()
}

func (c *cluster) restore(file []byte, w restoring.Wish) error {
	c.t.Helper()
	leader := c.leader()
	f, err := leader.restorer.Receive(c.t.Context(), leader.vault, bytes.NewReader(file))
	if err != nil {
		return err
	}
	defer func() { require.NoError(c.t, f.Close()) }()
	if err := f.Check(leader.View(), w); err != nil {
		return err
	}
	if err := f.Examine(leader.View()); err != nil {
		return err
	}
	_, err = f.Restore(c.t.Context(), leader, restoring.Ask{Caller: &fsmpb.Caller{Name: "admin"}, RequestID: "r1"}, w)
	return err
}

// agree waits until all have the same state, and returns it.
func (c *cluster) agree() *fsm.View {
	c.t.Helper()
	eventually(c.t, "the states differ", func() bool {
		hashes := map[[sha256.Size]byte]bool{}
		for _, m := range c.members {
			hashes[m.View().Hash()] = true
		}
		return len(hashes) == 1
	})
	require.NoError(c.t, c.members[0].View().Check())
	return c.members[0].View()
}

// lives waits until the cluster takes commands, seals and makes backups.
func (c *cluster) lives() {
	c.t.Helper()
	c.propose(&fsmpb.Command{Body: &fsmpb.Command_SetSpareKeys{SetSpareKeys: &fsmpb.SetSpareKeys{}}})
	for _, m := range c.members {
		eventually(c.t, "unsealed", func() bool {
			_, err := m.vault.BackupKey(m.View(), backup.NewFileID())
			return err == nil
		})
	}
}

func TestBackupUnderLoadAndBack(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, "1")
	c := found(t, kek)
	stop := c.load()
	eventually(t, "keys", func() bool { return keysOf(c.leader().View()) > 50 })
	follower := c.members[0]
	if follower == c.leader() {
		follower = c.members[1]
	}
	files := [][]byte{c.backup(c.leader()), c.backup(follower)}
	stop()
	c.lives() // behind what the load had on its way
	h, err := backup.ReadHeader(bytes.NewReader(files[0]))
	require.NoError(t, err)
	more := keysOf(c.agree())
	require.Greater(t, more, uint64(h.Counts.Keys))

	t.Run("into a new cluster", func(t *testing.T) {
		t.Parallel()
		for _, file := range files {
			to := found(t, kek)
			h, err := backup.ReadHeader(bytes.NewReader(file))
			require.NoError(t, err)
			require.NoError(t, to.restore(file, restoring.Wish{}))
			view := to.agree()
			require.Equal(t, uint64(h.Counts.Keys), keysOf(view))
			require.Equal(t, h.ClusterID, view.Meta().GetClusterId())
			require.True(t, view.RestoreOpen())
			again, err := backup.ReadHeader(bytes.NewReader(to.backup(to.leader())))
			require.NoError(t, err)
			require.Equal(t, h.ClusterID, again.ClusterID)
			require.NotEqual(t, h.History, again.History, "backups of a rehearsal are told apart")
			to.lives()
			require.ErrorIs(t, to.restore(files[0], restoring.Wish{}), restoring.ErrOlder, "it is that cluster now")
		}
	})
	t.Run("into the same cluster", func(t *testing.T) {
		t.Parallel()
		c := &cluster{t: t, members: c.members}
		require.ErrorIs(t, c.restore(files[0], restoring.Wish{}), restoring.ErrOlder)
		require.Equal(t, more, keysOf(c.agree()))
		require.False(t, c.agree().RestoreOpen())
		require.NoError(t, c.restore(files[0], restoring.Wish{Force: true}))
		require.Equal(t, uint64(h.Counts.Keys), keysOf(c.agree()))
		c.lives()
	})
	t.Run("without the key", func(t *testing.T) {
		t.Parallel()
		to := found(t, kekOf(t, "2"))
		before := to.agree().Meta().GetClusterId()
		require.ErrorIs(t, to.restore(files[0], restoring.Wish{}), backup.ErrForeign)
		cut := files[0][:len(files[0])-1]
		require.ErrorIs(t, to.restore(cut, restoring.Wish{}), backup.ErrTruncated)
		require.Equal(t, before, to.agree().Meta().GetClusterId())
	})
}

// A cluster with something to lose is given up by name only.
func TestRestoreOverAnotherCluster(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, "1")
	c, other := found(t, kek), found(t, kek, kekOf(t, "2"))
	for _, some := range []*cluster{c, other} {
		stop := some.load()
		eventually(t, "keys", func() bool { return keysOf(some.leader().View()) > 3 })
		stop()
	}
	file, mine := c.backup(c.leader()), other.agree().Meta().GetClusterId()
	require.ErrorIs(t, other.restore(file, restoring.Wish{}), restoring.ErrOtherCluster)
	require.ErrorIs(t, other.restore(file, restoring.Wish{Force: true}), restoring.ErrOtherCluster)
	require.ErrorIs(t, other.restore(file, restoring.Wish{Replace: "x"}), restoring.ErrOtherCluster)
	require.Equal(t, mine, other.agree().Meta().GetClusterId())
	require.NoError(t, other.restore(file, restoring.Wish{Replace: mine}))
	require.Equal(t, c.agree().Meta().GetClusterId(), other.agree().Meta().GetClusterId())
	other.lives()
}
