package validator

import (
	"testing"

	bls12381 "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fp"
	"github.com/stretchr/testify/require"
)

// The pairing does not see a summand of a public key whose order divides the
// cofactor: other bytes, for which the equation holds all the same. Only the group
// check tells. (Of a signature the ate pairing does see it; it is refused twice.)
func TestPointsOutsideTheSubgroup(t *testing.T) {
	t.Parallel()
	key, err := SecretKeyFromBytes(unhex(vectorSecret))
	require.NoError(t, err)
	root := [32]byte{1, 2, 3}
	signature, public := key.Sign(root), key.PublicKey()

	var signed bls12381.G2Affine
	_, err = signed.SetBytes(signature[:])
	require.NoError(t, err)
	torsion := torsionG2()
	signed.Add(&signed, &torsion)
	require.True(t, signed.IsOnCurve())
	require.False(t, signed.IsInSubGroup())
	twisted := Signature(signed.Bytes())
	require.NotEqual(t, signature, twisted)
	require.False(t, twisted.Verify(public, root), "a signature outside the subgroup")

	var owner bls12381.G1Affine
	_, err = owner.SetBytes(public[:])
	require.NoError(t, err)
	small := torsionG1()
	owner.Add(&owner, &small)
	require.True(t, owner.IsOnCurve())
	require.False(t, owner.IsInSubGroup())
	stranger := PublicKey(owner.Bytes())
	require.ErrorIs(t, stranger.Check(), ErrPublicKey)
	require.False(t, signature.Verify(stranger, root), "a public key outside the subgroup")
}

// torsionG1 multiplies the first point that is outside of the subgroup by the
// group order, bit by bit, because quicker ways hold in the subgroup only.
func torsionG1() bls12381.G1Affine {
	var four, y2 fp.Element
	four.SetUint64(4)
	for x := uint64(1); ; x++ {
		var point bls12381.G1Affine
		point.X.SetUint64(x)
		y2.Square(&point.X).Mul(&y2, &point.X).Add(&y2, &four)
		if point.Y.Sqrt(&y2) == nil || point.IsInSubGroup() {
			continue
		}
		var base, sum bls12381.G1Jac
		base.FromAffine(&point)
		for i := groupOrder.BitLen() - 1; i >= 0; i-- {
			sum.DoubleAssign()
			if groupOrder.Bit(i) == 1 {
				sum.AddAssign(&base)
			}
		}
		return *new(bls12381.G1Affine).FromJacobian(&sum)
	}
}

// torsionG2 is torsionG1 on the twist: y² = x³ + 4(1 + u).
func torsionG2() bls12381.G2Affine {
	var b, y2 bls12381.E2
	b.A0.SetUint64(4)
	b.A1.SetUint64(4)
	for x := uint64(1); ; x++ {
		var point bls12381.G2Affine
		point.X.A0.SetUint64(x)
		y2.Square(&point.X).Mul(&y2, &point.X).Add(&y2, &b)
		if y2.Legendre() != 1 {
			continue
		}
		point.Y.Sqrt(&y2)
		if point.IsInSubGroup() {
			continue
		}
		var base, sum bls12381.G2Jac
		base.FromAffine(&point)
		for i := groupOrder.BitLen() - 1; i >= 0; i-- {
			sum.DoubleAssign()
			if groupOrder.Bit(i) == 1 {
				sum.AddAssign(&base)
			}
		}
		return *new(bls12381.G2Affine).FromJacobian(&sum)
	}
}
