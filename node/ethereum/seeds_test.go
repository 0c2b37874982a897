package ethereum

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/ethereum/validator"
	"github.com/keysteward/keysteward/node/seal"
)

// soloCluster applies commands at once, as a cluster of one would, and keeps
// every byte that it logged.
type soloCluster struct {
	t       *testing.T
	machine *fsm.Machine
	index   uint64
	log     bytes.Buffer
}

func newSoloCluster(t *testing.T) *soloCluster {
	t.Helper()
	c := &soloCluster{t: t, machine: fsm.New()}
	_, err := c.Propose(t.Context(), &fsmpb.Command{Body: &fsmpb.Command_BeginSession{
		BeginSession: &fsmpb.BeginSession{NodeId: "n1", NewClusterId: "cluster"},
	}})
	require.NoError(t, err)
	return c
}

func (c *soloCluster) View() *fsm.View { return c.machine.View() }

func (c *soloCluster) Propose(_ context.Context, cmd *fsmpb.Command) (any, error) {
	cmd.Version, cmd.Session = fsm.CommandVersion, 1
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{cmd}})
	require.NoError(c.t, err)
	c.log.Write(entry)
	c.index++
	results, err := c.machine.Apply(c.index, 1, entry)
	require.NoError(c.t, err)
	return results[0].Value, results[0].Err()
}

// kekFile writes a key-encryption key whose bytes are all the same.
func kekFile(t *testing.T, value byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kek")
	require.NoError(t, os.WriteFile(path, []byte(hex.EncodeToString(bytes.Repeat([]byte{value}, seal.KeySize))), 0o600))
	return path
}

func vaultOf(t *testing.T, kekPath string) *seal.Vault {
	t.Helper()
	kek, err := seal.ParseKEK("file:" + kekPath)
	require.NoError(t, err)
	return seal.NewVault(nil, kek)
}

// withKeyring gives the cluster a keyring the way a leader does: by the duty of
// its vault, in a node of its own.
func (c *soloCluster) withKeyring(vault *seal.Vault, record []byte) {
	_, err := c.Propose(c.t.Context(), &fsmpb.Command{Body: &fsmpb.Command_InstallKeyring{
		InstallKeyring: &fsmpb.InstallKeyring{Sealed: record},
	}})
	require.NoError(c.t, err)
	require.NoError(c.t, vault.Open(c.t.Context(), c.View()))
}

var seedBytes = bytes.Repeat([]byte{0x5e, 0xed, 0x07}, 22)[:64]

func testSeed(t *testing.T) *validator.Seed {
	t.Helper()
	seed, err := validator.SeedFromBytes(seedBytes)
	require.NoError(t, err)
	return seed
}

func TestSeedIsInstalledOnceAndSealed(t *testing.T) {
	t.Parallel()
	c, vault := newSoloCluster(t), vaultOf(t, kekFile(t, 7))
	seeds := NewSeeds(vault, c)
	ctx := t.Context()

	_, err := seeds.Seed(ctx)
	require.ErrorIs(t, err, ErrNoSeed)
	require.ErrorIs(t, seeds.InstallSeed(ctx, testSeed(t), nil, ""), node.ErrSealed, "there is no keyring yet")

	record, err := seal.NewKeyring(t.Context(), "cluster", kekFromFile(t, kekFile(t, 7)))
	require.NoError(t, err)
	c.withKeyring(vault, record)
	require.NoError(t, seeds.InstallSeed(ctx, testSeed(t), nil, ""))
	require.NoError(t, seeds.InstallSeed(ctx, testSeed(t), nil, ""), "the same seed again changes nothing")
	other, err := validator.SeedFromBytes(bytes.Repeat([]byte{1}, 64))
	require.NoError(t, err)
	require.ErrorIs(t, seeds.InstallSeed(ctx, other, nil, ""), fsm.Refused(fsm.SeedExists))

	got, err := seeds.Seed(ctx)
	require.NoError(t, err)
	require.Equal(t, seedBytes, got.Bytes())
	got.Zero() // the caller's own copy
	keys, err := seeds.SigningKeys(ctx, []uint64{3, 0})
	require.NoError(t, err)
	for i, index := range []uint64{3, 0} {
		want, err := testSeed(t).SigningKey(index)
		require.NoError(t, err)
		require.Equal(t, want.PublicKey(), keys[i].PublicKey())
	}

	var snapshot bytes.Buffer
	_, err = c.View().WriteTo(&snapshot)
	require.NoError(t, err)
	for what, secret := range map[string][]byte{"seed": seedBytes, "signing key": keys[1].Bytes(), "key-encryption key": bytes.Repeat([]byte{7}, seal.KeySize)} {
		for where, bytesOf := range map[string][]byte{"log": c.log.Bytes(), "snapshot": snapshot.Bytes()} {
			require.NotContains(t, string(bytesOf), string(secret[:16]), "%s in the %s", what, where)
			require.NotContains(t, string(bytesOf), hex.EncodeToString(secret[:16]), "%s in the %s", what, where)
			require.NotContains(t, string(bytesOf), base64.StdEncoding.EncodeToString(secret)[:20], "%s in the %s", what, where)
		}
	}
}

func TestSeedStaysClosedWithoutTheRightKey(t *testing.T) {
	t.Parallel()
	c, right := newSoloCluster(t), kekFile(t, 7)
	record, err := seal.NewKeyring(t.Context(), "cluster", kekFromFile(t, right))
	require.NoError(t, err)
	vault := vaultOf(t, right)
	c.withKeyring(vault, record)
	require.NoError(t, NewSeeds(vault, c).InstallSeed(t.Context(), testSeed(t), nil, ""))

	for name, path := range map[string]string{"another key": kekFile(t, 8), "no key": filepath.Join(t.TempDir(), "none")} {
		vault := vaultOf(t, path)
		require.Error(t, vault.Open(t.Context(), c.View()))
		seeds := NewSeeds(vault, c)
		_, err := seeds.Seed(t.Context())
		require.ErrorIs(t, err, node.ErrSealed, name)
		_, err = seeds.SigningKeys(t.Context(), []uint64{0})
		require.ErrorIs(t, err, ErrSealed, name)
		reason, sealed := seeds.Sealed()
		require.True(t, sealed, name)
		require.NotEmpty(t, reason, name)
	}
}

func kekFromFile(t *testing.T, path string) seal.KEK {
	t.Helper()
	kek, err := seal.ParseKEK("file:" + path)
	require.NoError(t, err)
	return kek
}
