package validator

import (
	"crypto/sha256"
	"encoding/binary"
)

// depositDomainType is DOMAIN_DEPOSIT of the consensus specification.
var depositDomainType = [4]byte{0x03}

// MessageRoot is the SSZ hash tree root of the DepositMessage: what is signed,
// before the domain is mixed in.
func (d DepositData) MessageRoot() [32]byte {
	return pair(d.validatorRoot(), pair(d.amountChunk(), [32]byte{}))
}

// Root is the SSZ hash tree root of the DepositData: the deposit_data_root that
// the deposit contract recomputes and compares.
func (d DepositData) Root() [32]byte {
	first := sha256.Sum256(d.Signature[:64])
	second := sha256.Sum256(padded(d.Signature[64:], 64))
	return pair(d.validatorRoot(), pair(d.amountChunk(), pair(first, second)))
}

// SigningRoot is what the key signs. The domain has the genesis fork version and
// a zero genesis_validators_root, because deposits are valid across forks and
// before genesis.
func (d DepositData) SigningRoot(forkVersion [4]byte) [32]byte {
	forkData := pair([32]byte(padded(forkVersion[:], 32)), [32]byte{})
	var domain [32]byte
	copy(domain[:4], depositDomainType[:])
	copy(domain[4:], forkData[:28])
	return pair(d.MessageRoot(), domain)
}

// validatorRoot covers the two fields that open both structures.
func (d DepositData) validatorRoot() [32]byte {
	return pair(sha256.Sum256(padded(d.PublicKey[:], 64)), d.Credentials)
}

func (d DepositData) amountChunk() [32]byte {
	var chunk [32]byte
	binary.LittleEndian.PutUint64(chunk[:8], d.AmountGwei)
	return chunk
}

// pair hashes two nodes of a Merkle tree into their parent.
func pair(left, right [32]byte) [32]byte {
	var both [64]byte
	copy(both[:32], left[:])
	copy(both[32:], right[:])
	return sha256.Sum256(both[:])
}

// padded returns data with zeros behind it, size bytes in all.
func padded(data []byte, size int) []byte {
	out := make([]byte, size)
	copy(out, data)
	return out
}
