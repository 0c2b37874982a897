package devchain_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/params"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/cluster/local/devchain"
)

// patience bounds every wait for the chain.
const patience = 20 * time.Second

const contractJSON = `[
{"type":"function","name":"deposit","stateMutability":"payable","outputs":[],"inputs":[
 {"name":"pubkey","type":"bytes"},{"name":"withdrawal_credentials","type":"bytes"},
 {"name":"signature","type":"bytes"},{"name":"deposit_data_root","type":"bytes32"}]},
{"type":"function","name":"get_deposit_count","stateMutability":"view","inputs":[],"outputs":[{"type":"bytes"}]},
{"type":"function","name":"get_deposit_root","stateMutability":"view","inputs":[],"outputs":[{"type":"bytes32"}]}]`

var depositEvent = common.HexToHash("0x649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5")

// depositor talks to a chain's deposit contract over RPC, with the funded account's key.
type depositor struct {
	t        *testing.T
	client   *ethclient.Client
	key      *ecdsa.PrivateKey
	nonce    uint64 // of the next transaction
	chainID  *big.Int
	contract common.Address
	abi      abi.ABI
}

// newKey returns a fresh account for a chain to fund.
func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := crypto.GenerateKey()
	require.NoError(t, err)
	return key
}

// address is the account of key.
func address(key *ecdsa.PrivateKey) common.Address { return crypto.PubkeyToAddress(key.PublicKey) }

// newDepositor connects to the RPC at url.
func newDepositor(t *testing.T, url string, key *ecdsa.PrivateKey) *depositor {
	t.Helper()
	client, err := ethclient.DialContext(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	chainID, err := client.ChainID(t.Context())
	require.NoError(t, err)
	nonce, err := client.PendingNonceAt(t.Context(), address(key))
	require.NoError(t, err)
	parsed, err := abi.JSON(strings.NewReader(contractJSON))
	require.NoError(t, err)
	return &depositor{
		t: t, client: client, key: key, nonce: nonce, chainID: chainID, abi: parsed,
		contract: common.HexToAddress("0x00000000219ab540356cBB839Cbe05303d7705Fa"),
	}
}

// input is the call data of a deposit for a made-up key numbered n. The contract checks the
// data root but not the BLS signature, so arbitrary bytes stand for both.
func (d *depositor) input(n byte, flip bool) []byte {
	d.t.Helper()
	pubkey, signature, credentials := make([]byte, 48), make([]byte, 96), make([]byte, 32)
	pubkey[0], signature[0], credentials[0] = n, n, 1
	root := dataRoot(pubkey, credentials, signature, 32_000_000_000)
	if flip {
		root[0] ^= 1
	}
	data, err := d.abi.Pack("deposit", pubkey, credentials, signature, root)
	require.NoError(d.t, err)
	return data
}

// dataRoot is the SSZ hash tree root of a DepositData.
func dataRoot(pubkey, credentials, signature []byte, gwei uint64) [32]byte {
	zeros := make([]byte, 32)
	hash := func(parts ...[]byte) []byte {
		sum := sha256.Sum256(join(parts...))
		return sum[:]
	}
	amount := join(binary.LittleEndian.AppendUint64(nil, gwei), zeros[:24])
	signed := hash(hash(signature[:64]), hash(signature[64:], zeros))
	return [32]byte(hash(hash(hash(pubkey, zeros[:16]), credentials), hash(amount, signed)))
}

func join(parts ...[]byte) []byte {
	var all []byte
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

func stake() *big.Int { return new(big.Int).Mul(big.NewInt(32), big.NewInt(params.Ether)) }

// send sends the deposit numbered n with the next nonce, of an account that nobody else
// uses, and returns its hash. The client is not asked for each nonce: while a block is
// mined, its answer may leave out what was sent just before.
func (d *depositor) send(n byte) common.Hash {
	d.t.Helper()
	ctx := d.t.Context()
	nonce := d.nonce
	d.nonce++
	tx, err := types.SignNewTx(d.key, types.LatestSignerForChainID(d.chainID), &types.DynamicFeeTx{
		ChainID: d.chainID, Nonce: nonce, To: &d.contract, Value: stake(), Data: d.input(n, false),
		Gas: 400_000, GasTipCap: big.NewInt(params.GWei), GasFeeCap: big.NewInt(10 * params.GWei),
	})
	require.NoError(d.t, err)
	require.NoError(d.t, d.client.SendTransaction(ctx, tx))
	return tx.Hash()
}

// mined waits for the receipt of a successful transaction.
func (d *depositor) mined(hash common.Hash) *types.Receipt {
	d.t.Helper()
	var receipt *types.Receipt
	require.Eventually(d.t, func() bool {
		var err error
		receipt, err = d.client.TransactionReceipt(d.t.Context(), hash)
		return err == nil
	}, patience, time.Millisecond, "transaction %s is not mined", hash)
	require.Equal(d.t, types.ReceiptStatusSuccessful, receipt.Status)
	return receipt
}

// call evaluates a view of the contract on the newest block.
func (d *depositor) call(method string) []any {
	d.t.Helper()
	data, err := d.abi.Pack(method)
	require.NoError(d.t, err)
	output, err := d.client.CallContract(d.t.Context(), ethereum.CallMsg{To: &d.contract, Data: data}, nil)
	require.NoError(d.t, err)
	values, err := d.abi.Unpack(method, output)
	require.NoError(d.t, err)
	return values
}

func (d *depositor) count() uint64 {
	d.t.Helper()
	return binary.LittleEndian.Uint64(d.call("get_deposit_count")[0].([]byte))
}

func (d *depositor) root() common.Hash {
	d.t.Helper()
	return d.call("get_deposit_root")[0].([32]byte)
}

// events returns the first public-key byte of every DepositEvent, in order.
func (d *depositor) events() []byte {
	d.t.Helper()
	logs, err := d.client.FilterLogs(d.t.Context(), ethereum.FilterQuery{
		FromBlock: new(big.Int), Addresses: []common.Address{d.contract}, Topics: [][]common.Hash{{depositEvent}},
	})
	require.NoError(d.t, err)
	var keys []byte
	for _, log := range logs {
		request, err := types.DepositLogToRequest(log.Data)
		require.NoError(d.t, err)
		keys = append(keys, request[0])
	}
	return keys
}

// head returns the newest block's header.
func (d *depositor) head() *types.Header {
	d.t.Helper()
	header, err := d.client.HeaderByNumber(d.t.Context(), nil)
	require.NoError(d.t, err)
	return header
}

// start runs a chain for the test, quick unless config says otherwise.
func start(t *testing.T, config devchain.Config) *devchain.Chain {
	t.Helper()
	if config.Period == 0 {
		config.Period = 20 * time.Millisecond
	}
	if config.RPCAddr == "" {
		config.RPCAddr = "127.0.0.1:0"
	}
	chain, err := devchain.Start(context.WithoutCancel(t.Context()), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, chain.Close()) })
	return chain
}
