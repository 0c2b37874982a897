package validator

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"testing"

	bls12381 "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/stretchr/testify/require"
)

// This file holds a second implementation of everything that must not be wrong,
// written from the specifications alone and as plainly as possible: EIP-2333 over
// math/big, BLS over gnark-crypto, SSZ as a generic Merkle tree.

var groupOrder, _ = new(big.Int).SetString("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001", 16)

// slowMaster is derive_master_SK of EIP-2333.
func slowMaster(t *testing.T, seed []byte) *big.Int {
	t.Helper()
	return slowModR(t, seed)
}

// slowChild is derive_child_SK of EIP-2333.
func slowChild(t *testing.T, parent *big.Int, index uint32) *big.Int {
	t.Helper()
	salt := binary.BigEndian.AppendUint32(nil, index)
	ikm := parent.FillBytes(make([]byte, 32))
	flipped := make([]byte, 32)
	for i := range ikm {
		flipped[i] = ikm[i] ^ 0xff
	}
	lamport := make([]byte, 0, 2*255*32)
	for _, input := range [][]byte{ikm, flipped} {
		prk, err := hkdf.Extract(sha256.New, input, salt)
		require.NoError(t, err)
		okm, err := hkdf.Expand(sha256.New, prk, "", 255*32)
		require.NoError(t, err)
		for i := range 255 {
			sum := sha256.Sum256(okm[32*i : 32*i+32])
			lamport = append(lamport, sum[:]...)
		}
	}
	compressed := sha256.Sum256(lamport)
	return slowModR(t, compressed[:])
}

// slowModR is hkdf_mod_r of EIP-2333.
func slowModR(t *testing.T, ikm []byte) *big.Int {
	t.Helper()
	salt := []byte("BLS-SIG-KEYGEN-SALT-")
	for {
		sum := sha256.Sum256(salt)
		salt = sum[:]
		prk, err := hkdf.Extract(sha256.New, append(append([]byte{}, ikm...), 0), salt)
		require.NoError(t, err)
		okm, err := hkdf.Expand(sha256.New, prk, string([]byte{0, 48}), 48)
		require.NoError(t, err)
		if key := new(big.Int).Mod(new(big.Int).SetBytes(okm), groupOrder); key.Sign() != 0 {
			return key
		}
	}
}

// slowPath follows a path from the master key.
func slowPath(t *testing.T, seed []byte, path ...uint32) *big.Int {
	t.Helper()
	key := slowMaster(t, seed)
	for _, index := range path {
		key = slowChild(t, key, index)
	}
	return key
}

// slowPublicKey multiplies the generator in gnark-crypto.
func slowPublicKey(secret *big.Int) PublicKey {
	_, _, generator, _ := bls12381.Generators()
	var point bls12381.G1Affine
	point.ScalarMultiplication(&generator, secret)
	return PublicKey(point.Bytes())
}

// slowSign hashes to the curve and multiplies in gnark-crypto.
func slowSign(t *testing.T, secret *big.Int, root [32]byte) Signature {
	t.Helper()
	hashed, err := bls12381.HashToG2(root[:], []byte("BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"))
	require.NoError(t, err)
	var point bls12381.G2Affine
	point.ScalarMultiplication(&hashed, secret)
	return Signature(point.Bytes())
}

// slowVerify checks e(g1, signature) = e(key, H(root)) by pairing in gnark-crypto.
func slowVerify(t *testing.T, key PublicKey, root [32]byte, signature Signature) bool {
	t.Helper()
	_, _, generator, _ := bls12381.Generators()
	var owner bls12381.G1Affine
	var signed bls12381.G2Affine
	_, err := owner.SetBytes(key[:])
	require.NoError(t, err)
	_, err = signed.SetBytes(signature[:])
	require.NoError(t, err)
	hashed, err := bls12381.HashToG2(root[:], []byte("BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"))
	require.NoError(t, err)
	generator.Neg(&generator)
	holds, err := bls12381.PairingCheck(
		[]bls12381.G1Affine{generator, owner}, []bls12381.G2Affine{signed, hashed})
	require.NoError(t, err)
	return holds
}

// slowTree merkleizes chunks of 32 bytes, padded with zero chunks to a power of two.
func slowTree(chunks ...[]byte) []byte {
	width := 1
	for width < len(chunks) {
		width *= 2
	}
	layer := make([][]byte, width)
	for i := range layer {
		layer[i] = make([]byte, 32)
		if i < len(chunks) {
			layer[i] = chunks[i]
		}
	}
	for len(layer) > 1 {
		above := make([][]byte, 0, len(layer)/2)
		for i := 0; i < len(layer); i += 2 {
			sum := sha256.Sum256(append(append([]byte{}, layer[i]...), layer[i+1]...))
			above = append(above, sum[:])
		}
		layer = above
	}
	return layer[0]
}

// slowVector is the hash tree root of a fixed vector of bytes.
func slowVector(data []byte) []byte {
	var chunks [][]byte
	for start := 0; start < len(data); start += 32 {
		chunk := make([]byte, 32)
		copy(chunk, data[start:])
		chunks = append(chunks, chunk)
	}
	return slowTree(chunks...)
}

func slowUint64(n uint64) []byte { return slowVector(binary.LittleEndian.AppendUint64(nil, n)) }

func slowMessageRoot(d DepositData) []byte {
	return slowTree(slowVector(d.PublicKey[:]), slowVector(d.Credentials[:]), slowUint64(d.AmountGwei))
}

func slowDataRoot(d DepositData) []byte {
	return slowTree(slowVector(d.PublicKey[:]), slowVector(d.Credentials[:]), slowUint64(d.AmountGwei), slowVector(d.Signature[:]))
}

func slowSigningRoot(d DepositData, forkVersion [4]byte) [32]byte {
	forkData := slowTree(slowVector(forkVersion[:]), make([]byte, 32))
	domain := append([]byte{3, 0, 0, 0}, forkData[:28]...)
	return [32]byte(slowTree(slowMessageRoot(d), domain))
}
