package local

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/keystore"
)

// Validators move from one cluster to another by their keystores: they rest there
// until an operator's word, and are handed out to one pod then, with the same secrets.
func TestKeysAreImported(t *testing.T) {
	t.Parallel()
	takeSlot(t)
	old := launch(t, t.TempDir()).up()
	brought := filepath.Join(old.dir, "pods", "brought")
	_, err := old.keysteward("allocate", "--pod", "brought", "--keys", "3", "--out", brought, "--layout", "teku")
	require.NoError(t, err)
	keys, secrets := readPod(t, brought, 3)
	old.signal(syscall.SIGTERM)
	require.Zero(t, old.end())

	l := launch(t, t.TempDir()).up()
	for _, want := range []string{"in all: imported 3", "in all: known 3"} { // it may be repeated
		out, err := l.keysteward("keys", "import", brought)
		require.NoError(t, err, out)
		require.Contains(t, out, want)
	}
	for _, key := range keys {
		k := get[wire.Key](t, l.leader().API+"/v1/keys/"+key, l.file().AdminTokenFile)
		require.Equal(t, wire.KeyStateResting, k.State)
	}
	// Their stakes are on another chain, which the books of this one show.
	chain := l.file().Chain
	out, err := l.keysteward("deposits", "verify", "--execution-rpc", chain.RPC, "--deposit-contract", chain.DepositContract, "--settle", "0s")
	require.Error(t, err)
	require.Contains(t, out, "not-on-chain")

	// Other pods do not get them, also after the leader is killed.
	require.NoError(t, syscall.Kill(l.leader().PID, syscall.SIGKILL))
	other := filepath.Join(l.dir, "pods", "other")
	_, err = l.keysteward("allocate", "--pod", "other", "--keys", "1", "--out", other, "--layout", string(keystore.Teku))
	require.NoError(t, err)
	otherKeys, _ := readPod(t, other, 1)
	require.NotContains(t, keys, otherKeys[0])

	_, err = l.keysteward("keys", "confirm-stopped", "--all-imported")
	require.NoError(t, err)
	again := filepath.Join(l.dir, "pods", "again")
	_, err = l.keysteward("allocate", "--pod", "again", "--keys", "3", "--out", again, "--layout", "lighthouse")
	require.NoError(t, err)
	have, haveSecrets := readPod(t, again, 3)
	require.ElementsMatch(t, keys, have)
	require.ElementsMatch(t, secrets, haveSecrets)
	requireDepositedOnce(t, chain, otherKeys)
}
