package ethereum

import (
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// place is where a DepositEvent was seen.
type place struct {
	BlockNumber uint64
	BlockHash   common.Hash
	TxHash      common.Hash
}

// eventIndex holds where DepositEvents were seen, by public key. What was seen
// stays, also when its block was reorganised away: the safe direction is to
// take a key for paid.
type eventIndex interface {
	add(key validator.PublicKey, at place)
	seen(key validator.PublicKey) []place
	size() int
}

// memoryIndex is an eventIndex that is read from the chain anew in each process.
type memoryIndex map[validator.PublicKey][]place

func newMemoryIndex() memoryIndex { return make(memoryIndex) }

func (x memoryIndex) add(key validator.PublicKey, at place) {
	if !slices.Contains(x[key], at) {
		x[key] = append(x[key], at)
	}
}

func (x memoryIndex) seen(key validator.PublicKey) []place { return x[key] }

func (x memoryIndex) size() int { return len(x) }
