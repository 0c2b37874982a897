package devchain

import (
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/params"
)

// gasLimit of every block: room for more than 200 deposits.
const gasLimit = 60_000_000

// plentyETH is what an account owns at genesis unless configured: 31 million
// deposits of 32 ETH.
const plentyETH = 1_000_000_000

// depositContract is where the deposit contract stands, as on mainnet and Hoodi.
func depositContract() common.Address {
	return params.HoodiChainConfig.DepositContractAddress
}

// genesis is the first block of a chain. It must stay the same for the same
// arguments, also in later versions: a folder with another one is refused.
func genesis(c Config) *core.Genesis {
	alloc := types.GenesisAlloc{}
	for address, account := range core.SystemContractAllocs() {
		if address != params.BeaconRootsAddress && address != params.HistoryStorageAddress {
			alloc[address] = account
		}
	}
	// Hoodi's genesis block carries the deposit contract complete, with the zero
	// hashes that its constructor would have computed.
	alloc[depositContract()] = core.DefaultHoodiGenesisBlock().Alloc[depositContract()]
	alloc[c.Funded] = types.Account{Balance: wei(c.FundedETH)}
	if c.Faucet != (common.Address{}) {
		alloc[c.Faucet] = types.Account{Balance: wei(plentyETH)}
	}

	return &core.Genesis{
		Config:     chainConfig(c.ChainID),
		ExtraData:  []byte("keysteward devchain"),
		GasLimit:   gasLimit,
		BaseFee:    big.NewInt(params.InitialBaseFee),
		Difficulty: new(big.Int),
		Alloc:      alloc,
	}
}

func wei(eth uint64) *big.Int {
	return new(big.Int).Mul(new(big.Int).SetUint64(eth), big.NewInt(params.Ether))
}

// chainConfig has every fork up to Osaka from the first block on. Deposits appear
// as requests in the blocks (EIP-6110), as on a public network.
func chainConfig(chainID uint64) *params.ChainConfig {
	config := *params.AllDevChainProtocolChanges
	config.ChainID = new(big.Int).SetUint64(chainID)
	config.DepositContractAddress = depositContract()
	config.BogotaTime = nil
	return &config
}
