package validator

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Network is what deposit data and slashing protection need to know of a chain.
type Network struct {
	// Name is the network_name of a deposit file, lower case.
	Name string
	// ChainID is the execution layer's chain ID (EIP-155).
	ChainID uint64
	// ForkVersion is the GENESIS fork version, the one that deposits are signed for.
	ForkVersion [4]byte
	// DepositContract is the address of the deposit contract.
	DepositContract [20]byte
	// GenesisTime is the consensus layer's genesis in Unix seconds.
	GenesisTime uint64
	// GenesisValidatorsRoot names the chain in slashing protection files (EIP-3076).
	GenesisValidatorsRoot [32]byte
}

// networks are the public networks by name.
var networks = map[string]Network{
	"mainnet": {
		Name: "mainnet", ChainID: 1, ForkVersion: [4]byte{0x00, 0x00, 0x00, 0x00}, GenesisTime: 1606824023,
		DepositContract:       [20]byte(unhex("00000000219ab540356cbb839cbe05303d7705fa")),
		GenesisValidatorsRoot: [32]byte(unhex("4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95")),
	},
	"sepolia": {
		Name: "sepolia", ChainID: 11155111, ForkVersion: [4]byte{0x90, 0x00, 0x00, 0x69}, GenesisTime: 1655733600,
		DepositContract:       [20]byte(unhex("7f02c3e3c98b133055b8b348b2ac625669ed295d")),
		GenesisValidatorsRoot: [32]byte(unhex("d8ea171f3c94aea21ebc42a1ed61052acf3f9209c00e4efbaaddac09ed9b8078")),
	},
	"holesky": {
		Name: "holesky", ChainID: 17000, ForkVersion: [4]byte{0x01, 0x01, 0x70, 0x00}, GenesisTime: 1695902400,
		DepositContract:       [20]byte(unhex("4242424242424242424242424242424242424242")),
		GenesisValidatorsRoot: [32]byte(unhex("9143aa7c615a7f7115e2b6aac319c03529df8242ae705fba9df39b79c59fa8b1")),
	},
	"hoodi": {
		Name: "hoodi", ChainID: 560048, ForkVersion: [4]byte{0x10, 0x00, 0x09, 0x10}, GenesisTime: 1742213400,
		DepositContract:       [20]byte(unhex("00000000219ab540356cbb839cbe05303d7705fa")),
		GenesisValidatorsRoot: [32]byte(unhex("212f13fc4df078b6cb7db228f1c8307566dcecf900867401a92023d7ba99cb5f")),
	},
}

// networkOrder lists the names as people expect them: the real one first.
var networkOrder = []string{"mainnet", "sepolia", "holesky", "hoodi"}

// NetworkNames returns the names that NetworkByName knows.
func NetworkNames() []string { return slices.Clone(networkOrder) }

// NetworkByName returns a public network; the error lists the known names.
func NetworkByName(name string) (Network, error) {
	network, known := networks[name]
	if !known {
		return Network{}, fmt.Errorf("unknown network %q: choose one of %s", name, strings.Join(networkOrder, ", "))
	}
	return network, nil
}

// unhex decodes the constants of this package.
func unhex(text string) []byte {
	decoded, err := hex.DecodeString(text)
	if err != nil {
		panic(fmt.Sprintf("malformed constant %q: %v", text, err))
	}
	return decoded
}
