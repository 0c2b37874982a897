package ethereum

import (
	"encoding/binary"
	"fmt"

	"github.com/ethereum/go-ethereum/common"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// place is where a DepositEvent was seen.
type place struct {
	BlockNumber uint64
	BlockHash   common.Hash
	TxHash      common.Hash
}

// seenEvent is a DepositEvent as the index keeps it.
type seenEvent struct {
	place

	key         validator.PublicKey
	credentials validator.Credentials
	amountGwei  uint64
}

// checkpoint is a block up to which everything was read.
type checkpoint struct {
	number uint64
	hash   common.Hash
	// next is the index that the contract gives to the next DepositEvent, by the
	// events that were read.
	next uint64
	// counted says that the contract itself counts so many in this block: nothing
	// up to it is missing.
	counted bool
}

// is reports whether the checkpoint is of exactly this block.
func (c checkpoint) is(b *block) bool {
	return b != nil && c.number == uint64(b.Number) && c.hash == b.Hash
}

// chainIdentity is what an index of DepositEvents is of.
type chainIdentity struct {
	chainID  uint64
	genesis  common.Hash
	contract common.Address
}

// String is what the file keeps and what the log shows.
func (i chainIdentity) String() string {
	return fmt.Sprintf("contract %s on chain %d with genesis %s", i.contract, i.chainID, i.genesis)
}

// The rows of the file, numbers big endian:
//
//	event       public key 48 ‖ block number 8 ‖ block hash 32 ‖ transaction 32 → credentials 32 ‖ gwei 8
//	checkpoint  block number 8 → hash 32 ‖ next 8 ‖ counted 1
const (
	eventKeyLength   = 48 + 8 + 32 + 32
	eventValueLength = 32 + 8
	checkpointLength = 32 + 8 + 1
)

func (e seenEvent) row() (key, value []byte) {
	key = append(make([]byte, 0, eventKeyLength), e.key[:]...)
	key = binary.BigEndian.AppendUint64(key, e.BlockNumber)
	key = append(append(key, e.BlockHash[:]...), e.TxHash[:]...)
	return key, binary.BigEndian.AppendUint64(append([]byte(nil), e.credentials[:]...), e.amountGwei)
}

func eventOf(key, value []byte) (seenEvent, error) {
	if len(key) != eventKeyLength || len(value) != eventValueLength {
		return seenEvent{}, fmt.Errorf("%w: an event of %d and %d bytes", errDamagedIndex, len(key), len(value))
	}
	return seenEvent{
		key: validator.PublicKey(key[:48]),
		place: place{
			BlockNumber: binary.BigEndian.Uint64(key[48:56]), BlockHash: common.Hash(key[56:88]), TxHash: common.Hash(key[88:]),
		},
		credentials: validator.Credentials(value[:32]), amountGwei: binary.BigEndian.Uint64(value[32:]),
	}, nil
}

func (c checkpoint) row() (key, value []byte) {
	value = binary.BigEndian.AppendUint64(append(make([]byte, 0, checkpointLength), c.hash[:]...), c.next)
	if c.counted {
		return bigEndian(c.number), append(value, 1)
	}
	return bigEndian(c.number), append(value, 0)
}

func checkpointOf(key, value []byte) (checkpoint, error) {
	if len(key) != 8 || len(value) != checkpointLength {
		return checkpoint{}, fmt.Errorf("%w: a checkpoint of %d and %d bytes", errDamagedIndex, len(key), len(value))
	}
	return checkpoint{
		number: binary.BigEndian.Uint64(key), hash: common.Hash(value[:32]),
		next: binary.BigEndian.Uint64(value[32:40]), counted: value[40] == 1,
	}, nil
}

func bigEndian(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
