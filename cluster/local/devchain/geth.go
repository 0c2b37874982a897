package devchain

import (
	"encoding/json"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
)

// GethGenesis returns the genesis block of such a chain as JSON for `geth init`,
// without the forks that geth v1.16, the newest that builds as a tool, wants to know
// more about: Prague is the last. Deposits are the same there.
func GethGenesis(chainID uint64, funded common.Address) ([]byte, error) {
	first := genesis(Config{ChainID: chainID, Funded: funded, FundedETH: plentyETH})
	config := *first.Config
	config.OsakaTime, config.BPO1Time, config.BPO2Time = nil, nil, nil
	config.BPO3Time, config.BPO4Time, config.BPO5Time = nil, nil, nil
	config.AmsterdamTime, config.BogotaTime, config.UBTTime = nil, nil, nil
	first.Config = &config
	raw, err := json.MarshalIndent(first, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("genesis of the development chain: %w", err)
	}
	return raw, nil
}

// DepositContract is the address of the deposit contract on every development chain.
func DepositContract() common.Address { return depositContract() }
