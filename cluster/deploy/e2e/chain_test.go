//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/cluster/local/devchain"
)

// startChain starts a development chain on this machine where pods reach it, and makes a Secret with the
// account that pays.
func (s *site) startChain(t *testing.T) *devchain.Chain {
	t.Helper()
	secret, err := crypto.GenerateKey()
	require.NoError(t, err)
	key := &keystore.Key{Id: uuid.New(), Address: crypto.PubkeyToAddress(secret.PublicKey), PrivateKey: secret}
	file, err := keystore.EncryptKey(key, "e2e", keystore.LightScryptN, keystore.LightScryptP)
	require.NoError(t, err)
	folder := s.life.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "keystore"), file, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "password"), []byte("e2e"), 0o600))
	s.kubectl(t, "create", "secret", "generic", "funding", "-n", system, "--from-file="+folder)

	chain, err := devchain.Start(s.life.Context(), devchain.Config{
		Dir: filepath.Join(folder, "chain"), RPCAddr: s.host + ":0", Funded: key.Address, Period: 250 * time.Millisecond,
	})
	require.NoError(t, err)
	s.life.Cleanup(func() { require.NoError(s.life, chain.Close()) })
	return chain
}
