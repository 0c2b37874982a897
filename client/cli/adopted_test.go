package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

// Keys that were found with a deposit are told from others, and are freed apart
// from those that were imported.
func TestAdoptedKeys(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	adopted, imported := foreignKey(t, 1).PublicKey().String(), foreignKey(t, 2).PublicKey().String()
	stake := wire.Stake{TxHash: "0xabc", BlockNumber: 17, AmountGwei: 32_000_000_000, WithdrawalCredentials: "0x0100"}
	cluster.Import(wire.Key{Pubkey: adopted, State: wire.KeyStateResting, Index: 4, Path: "m/12381/3600/4/0/0", Adopted: stake, Fence: 1, RestsUntil: "until x"})
	cluster.Import(wire.Key{Pubkey: imported, State: wire.KeyStateResting, Imported: true, Fence: 2})
	sh := at(cluster)
	list := sh.run(t, "keys", "list").out
	require.Regexp(t, adopted+` +resting \(adopted\) +4 +1 `, list)
	require.Regexp(t, imported+` +resting \(imported\) +- +2 `, list)
	show := sh.run(t, "keys", "show", adopted).out
	require.Contains(t, show, "32000000000 gwei in transaction 0xabc, block 17, before this cluster had the seed")
	require.Contains(t, show, "m/12381/3600/4/0/0")

	got := sh.run(t, "keys", "confirm-stopped", "--all-adopted")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "1 key: stopped elsewhere")
	require.Equal(t, wire.KeyStateFree, cluster.Imported()[0].State)
	require.Equal(t, wire.KeyStateResting, cluster.Imported()[1].State)
	require.Contains(t, sh.run(t, "keys", "confirm-stopped", "--all-adopted").out, "nothing to do")
	got = sh.run(t, "keys", "confirm-stopped", imported, "--all-adopted")
	require.Equal(t, ExitUsage, got.code)
}
