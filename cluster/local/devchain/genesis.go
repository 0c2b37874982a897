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

// fundedETH is what the funded account owns at genesis: 31 million deposits of 32 ETH.
const fundedETH = 1_000_000_000

// depositContract is where the deposit contract stands, as on mainnet and Hoodi.
func depositContract() common.Address {
	return params.HoodiChainConfig.DepositContractAddress
}

// genesis is the first block of a chain. It must stay the same for the same
// arguments, also in later versions: a folder with another one is refused.
func genesis(chainID uint64, funded common.Address) *core.Genesis {
	alloc := types.GenesisAlloc{}
	for address, account := range core.SystemContractAllocs() {
		if address != params.BeaconRootsAddress && address != params.HistoryStorageAddress {
			alloc[address] = account
		}
	}
	// Hoodi's genesis block carries the deposit contract complete, with the zero
	// hashes that its constructor would have computed.
	alloc[depositContract()] = core.DefaultHoodiGenesisBlock().Alloc[depositContract()]
	balance := new(big.Int).Mul(big.NewInt(fundedETH), big.NewInt(params.Ether))
	alloc[funded] = types.Account{Balance: balance}

	return &core.Genesis{
		Config:     chainConfig(chainID),
		ExtraData:  []byte("keysteward devchain"),
		GasLimit:   gasLimit,
		BaseFee:    big.NewInt(params.InitialBaseFee),
		Difficulty: new(big.Int),
		Alloc:      alloc,
	}
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
