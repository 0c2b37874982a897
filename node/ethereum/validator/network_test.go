package validator

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNetworks(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		chainID     uint64
		fork        string
		contract    string
		genesis     uint64
		genesisRoot string
	}{
		"mainnet": {1, "00000000", "0x00000000219ab540356cBB839Cbe05303d7705Fa", 1606824023, "4b363db9"},
		"sepolia": {11155111, "90000069", "0x7f02C3E3c98b133055B8B348B2Ac625669Ed295D", 1655733600, "d8ea171f"},
		"holesky": {17000, "01017000", "0x4242424242424242424242424242424242424242", 1695902400, "9143aa7c"},
		"hoodi":   {560048, "10000910", "0x00000000219ab540356cBB839Cbe05303d7705Fa", 1742213400, "212f13fc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			network, err := NetworkByName(name)
			require.NoError(t, err)
			require.Equal(t, name, network.Name)
			require.Equal(t, want.chainID, network.ChainID)
			require.Equal(t, want.fork, hex.EncodeToString(network.ForkVersion[:]))
			require.Equal(t, want.contract, FormatAddress(network.DepositContract), "the checksum proves the address")
			require.Equal(t, want.genesis, network.GenesisTime)
			require.Equal(t, want.genesisRoot, hex.EncodeToString(network.GenesisValidatorsRoot[:4]))
		})
	}
	require.Len(t, networks, len(NetworkNames()))
}

func TestUnknownNetwork(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "Mainnet", "goerli"} {
		_, err := NetworkByName(name)
		require.ErrorContains(t, err, "mainnet, sepolia, holesky, hoodi")
	}
}
