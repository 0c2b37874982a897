package ethereum

import (
	"crypto/ecdsa"
	"math/big"
	"path/filepath"
	"testing"

	goethereum "github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/eth/ethconfig"
	"github.com/ethereum/go-ethereum/ethclient/simulated"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/params"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// simulatedChainID is the chain ID of every ethclient/simulated backend.
const simulatedChainID = 1337

// contractAddress is where the real deposit contract stands on Hoodi.
var contractAddress = params.HoodiChainConfig.DepositContractAddress

// chain is an execution client with the real deposit contract, reached over HTTP
// through a front where requests can fail, hang, or lose their answer.
type chain struct {
	t       *testing.T
	backend *simulated.Backend
	client  simulated.Client
	socket  string
	front   *front
}

// Accounts of the genesis block: the rich ones own a million ETH, all others
// nothing.
const (
	stranger     = 0 // somebody who is not us
	richAccounts = 200
	poorAccount  = richAccounts
)

// newChain starts a chain. Changes of its genesis block may be given.
func newChain(t *testing.T, changes ...func(types.GenesisAlloc)) *chain {
	t.Helper()
	c := &chain{t: t}
	alloc := types.GenesisAlloc{contractAddress: core.DefaultHoodiGenesisBlock().Alloc[contractAddress]}
	for n := range richAccounts {
		alloc[crypto.PubkeyToAddress(accountKey(n).PublicKey)] = types.Account{Balance: ether(1_000_000)}
	}
	for _, change := range changes {
		change(alloc)
	}
	c.socket = filepath.Join(t.TempDir(), "c")
	require.Less(t, len(c.socket), 100, "the path of a socket is too long")
	c.backend = simulated.NewBackend(alloc, func(nodeConf *node.Config, ethConf *ethconfig.Config) {
		nodeConf.IPCPath = c.socket
		ethConf.Genesis.BaseFee = big.NewInt(params.GWei)
		ethConf.TxPool.AccountSlots = MaxInFlight
		ethConf.TrieCleanCache, ethConf.SnapshotCache, ethConf.DatabaseCache = 1, 0, 1
	})
	t.Cleanup(func() { require.NoError(t, c.backend.Close()) })
	c.client = c.backend.Client()
	c.front = newFront(t, c.socket)
	return c
}

func accountKey(n int) *ecdsa.PrivateKey {
	key, err := crypto.ToECDSA(common.LeftPadBytes(big.NewInt(int64(n)+1).Bytes(), 32))
	if err != nil {
		panic(err)
	}
	return key
}

func ether(n int64) *big.Int { return new(big.Int).Mul(big.NewInt(n), big.NewInt(params.Ether)) }

// network is the custom network of the chain.
func (c *chain) network() validator.Network {
	return validator.Network{
		Name: "test", ChainID: simulatedChainID, ForkVersion: [4]byte{0x10, 0, 0, 0x39}, DepositContract: contractAddress,
	}
}

// events returns the DepositEvents on the canonical chain, in order.
func (c *chain) events() []validator.DepositData {
	c.t.Helper()
	logs, err := c.client.FilterLogs(c.t.Context(), goethereum.FilterQuery{
		FromBlock: new(big.Int), Addresses: []common.Address{contractAddress},
	})
	require.NoError(c.t, err)
	events := make([]validator.DepositData, len(logs))
	for i := range logs {
		event, err := parseDepositEvent(&logs[i], contractAddress)
		require.NoError(c.t, err)
		events[i] = event.DepositData
	}
	return events
}

// count asks the contract how many deposits it has taken.
func (c *chain) count() uint64 {
	c.t.Helper()
	input, err := contractABI.Pack("get_deposit_count")
	require.NoError(c.t, err)
	output, err := c.client.CallContract(c.t.Context(), goethereum.CallMsg{To: &contractAddress, Data: input}, nil)
	require.NoError(c.t, err)
	count, ok := depositCount(output)
	require.True(c.t, ok, "the contract answers %x", output)
	return count
}

func (c *chain) nonce(account common.Address) uint64 {
	c.t.Helper()
	nonce, err := c.client.NonceAt(c.t.Context(), account, nil)
	require.NoError(c.t, err)
	return nonce
}

func (c *chain) head() *types.Header {
	c.t.Helper()
	header, err := c.client.HeaderByNumber(c.t.Context(), nil)
	require.NoError(c.t, err)
	return header
}

// pay sends a transaction of key, at its next nonce.
func (c *chain) pay(key *ecdsa.PrivateKey, to common.Address, wei *big.Int, input []byte) {
	c.t.Helper()
	nonce, err := c.client.PendingNonceAt(c.t.Context(), crypto.PubkeyToAddress(key.PublicKey))
	require.NoError(c.t, err)
	c.payAt(key, nonce, to, wei, input)
}

func (c *chain) payAt(key *ecdsa.PrivateKey, nonce uint64, to common.Address, wei *big.Int, input []byte) {
	c.t.Helper()
	chainID := big.NewInt(simulatedChainID)
	tx, err := types.SignNewTx(key, types.LatestSignerForChainID(chainID), &types.DynamicFeeTx{
		ChainID: chainID, Nonce: nonce, To: &to, Value: wei, Data: input,
		Gas: gasLimit, GasTipCap: big.NewInt(3 * params.GWei), GasFeeCap: big.NewInt(50 * params.GWei),
	})
	require.NoError(c.t, err)
	require.NoError(c.t, c.client.SendTransaction(c.t.Context(), tx))
}
