package ethereum

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/ethereum/validator"
	"github.com/keysteward/keysteward/node/seal"
)

// foreignKeys are keys that the test seed does not derive.
func foreignKeys(t *testing.T, n int) []*validator.SecretKey {
	t.Helper()
	keys := make([]*validator.SecretKey, n)
	for i := range keys {
		var err error
		keys[i], err = validator.SecretKeyFromBytes(binary.BigEndian.AppendUint64(bytes.Repeat([]byte{0x2a}, 24), uint64(i)))
		require.NoError(t, err)
	}
	return keys
}

// unsealedCluster has a keyring that its vault opens, and no seed.
func unsealedCluster(t *testing.T) (*soloCluster, *Seeds, *seal.Vault) {
	t.Helper()
	c, path := newSoloCluster(t), kekFile(t, 7)
	vault := vaultOf(t, path)
	record, err := seal.NewKeyring(t.Context(), "cluster", kekFromFile(t, path))
	require.NoError(t, err)
	c.withKeyring(vault, record)
	return c, NewSeeds(vault, c), vault
}

func (c *soloCluster) keyOf(secret *validator.SecretKey) *fsmpb.Key {
	public := secret.PublicKey()
	return c.View().Key(public[:])
}

func TestImportedSecretsAreSealed(t *testing.T) {
	t.Parallel()
	c, seeds, _ := unsealedCluster(t)
	secrets := foreignKeys(t, 3)
	fresh, err := seeds.ImportKeys(t.Context(), secrets[:2], &fsmpb.Caller{Name: "admin"}, "r")
	require.NoError(t, err)
	require.Equal(t, fsm.Imported{true, true}, fresh)
	first := c.keyOf(secrets[0])
	fresh, err = seeds.ImportKeys(t.Context(), secrets, nil, "")
	require.NoError(t, err)
	require.Equal(t, fsm.Imported{false, false, true}, fresh)
	require.True(t, proto.Equal(first, c.keyOf(secrets[0])))

	var snapshot bytes.Buffer
	_, err = c.View().WriteTo(&snapshot)
	require.NoError(t, err)
	for _, secret := range secrets {
		raw := secret.Bytes()
		for _, text := range []string{string(raw[16:]), hex.EncodeToString(raw[16:]), base64.StdEncoding.EncodeToString(raw)[:40]} {
			require.NotContains(t, c.log.String(), text, "in the log")
			require.NotContains(t, snapshot.String(), text, "in the snapshot")
		}
	}
}

func TestSecretsOfBothKinds(t *testing.T) {
	t.Parallel()
	c, seeds, _ := unsealedCluster(t)
	secrets := foreignKeys(t, 2)
	_, err := seeds.ImportKeys(t.Context(), secrets, nil, "")
	require.NoError(t, err)
	imported := []*fsmpb.Key{c.keyOf(secrets[1]), c.keyOf(secrets[0])}
	opened, err := seeds.Secrets(t.Context(), imported)
	require.NoError(t, err, "imported keys need no seed")
	require.Equal(t, secrets[1].Bytes(), opened[0].Bytes())
	require.Equal(t, secrets[0].Bytes(), opened[1].Bytes())

	mixed := []*fsmpb.Key{{Index: 3}, imported[0], {Index: 0}, imported[1]}
	_, err = seeds.Secrets(t.Context(), mixed)
	require.ErrorIs(t, err, ErrNoSeed)
	require.NoError(t, seeds.InstallSeed(t.Context(), testSeed(t), nil, ""))
	opened, err = seeds.Secrets(t.Context(), mixed)
	require.NoError(t, err)
	want := make([]*validator.SecretKey, 2)
	for i, index := range []uint64{3, 0} {
		want[i], err = testSeed(t).SigningKey(index)
		require.NoError(t, err)
	}
	for i, secret := range []*validator.SecretKey{want[0], secrets[1], want[1], secrets[0]} {
		require.Equal(t, secret.PublicKey(), opened[i].PublicKey(), "key %d", i)
	}
	none, err := seeds.Secrets(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

// A record that was put in another's place, or altered, does not open.
func TestImportedSecretIsBoundToItsPublicKey(t *testing.T) {
	t.Parallel()
	c, seeds, vault := unsealedCluster(t)
	secrets := foreignKeys(t, 2)
	_, err := seeds.ImportKeys(t.Context(), secrets, nil, "")
	require.NoError(t, err)
	a, b := c.keyOf(secrets[0]), c.keyOf(secrets[1])
	altered := bytes.Clone(a.GetSealed())
	altered[len(altered)-1] ^= 1
	ring, err := vault.Keyring(c.View())
	require.NoError(t, err)
	short, err := ring.Seal(seal.KindKey, hex.EncodeToString(a.GetPubkey()), []byte("no key"))
	require.NoError(t, err)
	for name, sealed := range map[string][]byte{"another's": b.GetSealed(), "altered": altered, "none": nil, "short": short} {
		_, err := seeds.Secrets(t.Context(), []*fsmpb.Key{b, {Pubkey: a.GetPubkey(), Imported: true, Sealed: sealed}})
		require.Error(t, err, name)
		if name != "short" {
			require.ErrorIs(t, err, seal.ErrOpen, name)
		}
	}
}

func TestSealedNodeImportsNothing(t *testing.T) {
	t.Parallel()
	c, seeds, _ := unsealedCluster(t)
	secrets := foreignKeys(t, 1)
	_, err := seeds.ImportKeys(t.Context(), secrets, nil, "")
	require.NoError(t, err)
	strange := NewSeeds(vaultOf(t, kekFile(t, 8)), c)
	_, err = strange.ImportKeys(t.Context(), foreignKeys(t, 2), nil, "")
	require.ErrorIs(t, err, node.ErrSealed)
	_, err = strange.Secrets(t.Context(), []*fsmpb.Key{c.keyOf(secrets[0])})
	require.ErrorIs(t, err, node.ErrSealed)
}

// As many keys as a request may bring are far from what one command may have.
func TestLargestImportFitsACommand(t *testing.T) {
	t.Parallel()
	c, seeds, _ := unsealedCluster(t)
	before := c.log.Len()
	_, err := seeds.ImportKeys(t.Context(), foreignKeys(t, 1000), nil, "")
	require.NoError(t, err)
	require.Less(t, c.log.Len()-before, 512<<10)
}
