package api

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// A key of the seed that was found with a deposit is shown with it, rests until an
// operator's word, and is handed out like any other key of the seed.
func TestAdoptedKey(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	secret, err := testSeed().SigningKey(2)
	require.NoError(t, err)
	public := secret.PublicKey()
	hash := make([]byte, 32)
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_AdoptKeys{AdoptKeys: &fsmpb.AdoptKeys{
		Search: &fsmpb.SeedSearch{ChainId: 77, GenesisHash: hash, Contract: hash[:20], NextIndex: 23, Done: true},
		Found: []*fsmpb.FoundKey{{Pubkey: public[:], Index: 2, Stake: &fsmpb.Stake{
			TxHash: hash, BlockNumber: 9, Credentials: hash, AmountGwei: 32_000_000_000,
		}}},
	}}})
	k := h.key(secret)
	require.Equal(t, wire.KeyStateResting, k.State)
	require.False(t, k.Imported)
	require.Equal(t, int64(2), k.Index)
	require.Equal(t, "m/12381/3600/2/0/0", k.Path)
	require.Equal(t, int64(9), k.Adopted.BlockNumber)
	require.Equal(t, int64(32_000_000_000), k.Adopted.AmountGwei)
	require.Contains(t, k.RestsUntil, "confirm-stopped")

	require.Equal(t, http.StatusNoContent, h.confirm(RoleOperator, public.String(), k.Fence).Code)
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: 60_000}}})
	require.Equal(t, wire.KeyStateFree, h.key(secret).State)
	require.Equal(t, []string{public.String()}, read[wire.Allocation](t, h.allocate("web-0", "uid-1", 1, "")).Keys)
}
