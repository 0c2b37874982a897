package ethereum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/params"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// The deposit contract's functions that are used here. DepositEvent is unpacked
// by go-ethereum, the way EIP-6110 does it.
var contractABI = mustABI(`[
{"type":"function","name":"deposit","stateMutability":"payable","outputs":[],"inputs":[
 {"name":"pubkey","type":"bytes"},{"name":"withdrawal_credentials","type":"bytes"},
 {"name":"signature","type":"bytes"},{"name":"deposit_data_root","type":"bytes32"}]},
{"type":"function","name":"get_deposit_count","stateMutability":"view","inputs":[],"outputs":[{"name":"","type":"bytes"}]}]`)

// countInput is the call data of get_deposit_count.
var countInput = mustPack("get_deposit_count")

func mustPack(name string) []byte {
	input, err := contractABI.Pack(name)
	if err != nil {
		panic(fmt.Sprintf("call data of %s: %v", name, err))
	}
	return input
}

// depositTopic is keccak256("DepositEvent(bytes,bytes,bytes,bytes,bytes)").
var depositTopic = common.HexToHash("0x649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5")

var errNoDepositEvent = errors.New("no DepositEvent")

func mustABI(text string) abi.ABI {
	parsed, err := abi.JSON(strings.NewReader(text))
	if err != nil {
		panic(fmt.Sprintf("the contract's ABI is malformed: %v", err))
	}
	return parsed
}

// depositCall returns the call data and the value in wei of a deposit.
func depositCall(d validator.DepositData) (data []byte, wei *big.Int, err error) {
	data, err = contractABI.Pack("deposit", d.PublicKey[:], d.Credentials[:], d.Signature[:], d.Root())
	if err != nil {
		return nil, nil, fmt.Errorf("call data of the deposit for %s: %w", d.PublicKey, err)
	}
	return data, gweiToWei(d.AmountGwei), nil
}

// gweiToWei converts; 32 ETH in wei do not fit into 64 bits.
func gweiToWei(gwei uint64) *big.Int {
	return new(big.Int).Mul(new(big.Int).SetUint64(gwei), big.NewInt(params.GWei))
}

// depositEvent is one deposit that the contract took.
type depositEvent struct {
	validator.DepositData

	// Index is the contract's number of the deposit: 0, 1, 2 and so on.
	Index uint64
}

// parseDepositEvent reads a log of the deposit contract.
func parseDepositEvent(log *types.Log, contract common.Address) (depositEvent, error) {
	if log.Address != contract || len(log.Topics) != 1 || log.Topics[0] != depositTopic || log.Removed {
		return depositEvent{}, errNoDepositEvent
	}
	packed, err := types.DepositLogToRequest(log.Data)
	if err != nil {
		return depositEvent{}, fmt.Errorf("log %d of transaction %s: %w: %w", log.Index, log.TxHash, errNoDepositEvent, err)
	}
	// public key 48 ‖ credentials 32 ‖ amount 8 ‖ signature 96 ‖ index 8
	return depositEvent{
		DepositData: validator.DepositData{
			PublicKey:   validator.PublicKey(packed[:48]),
			Credentials: validator.Credentials(packed[48:80]),
			AmountGwei:  binary.LittleEndian.Uint64(packed[80:88]),
			Signature:   validator.Signature(packed[88:184]),
		},
		Index: binary.LittleEndian.Uint64(packed[184:192]),
	}, nil
}
