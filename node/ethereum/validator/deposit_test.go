package validator

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestAmounts(t *testing.T) {
	t.Parallel()
	bls, address, compounding := Credentials{}, AddressCredentials(testAddress), CompoundingCredentials(testAddress)
	for name, check := range map[string]struct {
		gwei        uint64
		credentials Credentials
		good        bool
	}{
		"nothing":               {0, address, false},
		"a gwei too little":     {GweiPerETH - 1, address, false},
		"least":                 {GweiPerETH, address, true},
		"activation":            {32 * GweiPerETH, address, true},
		"activation, BLS":       {32 * GweiPerETH, bls, true},
		"a gwei too much":       {32*GweiPerETH + 1, address, false},
		"a gwei too much, BLS":  {32*GweiPerETH + 1, bls, false},
		"compounding":           {32*GweiPerETH + 1, compounding, true},
		"compounding, most":     {2048 * GweiPerETH, compounding, true},
		"compounding, too much": {2048*GweiPerETH + 1, compounding, false},
		"compounding, least":    {GweiPerETH - 1, compounding, false},
		"all bits":              {1<<64 - 1, compounding, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := CheckAmount(check.gwei, check.credentials)
			if check.good {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, ErrAmount)
			}
		})
	}
}

func TestDepositsAgreeWithTheSecondOpinion(t *testing.T) {
	t.Parallel()
	seed := testSeed(t)
	rapid.Check(t, func(rt *rapid.T) {
		key, err := seed.SigningKey(uint64(rapid.Uint32().Draw(rt, "index")))
		require.NoError(rt, err)
		address := [20]byte(rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(rt, "address"))
		address[0] |= 1
		credentials := rapid.SampledFrom([]Credentials{
			BLSCredentials(key.PublicKey()), AddressCredentials(address), CompoundingCredentials(address),
		}).Draw(rt, "credentials")
		amount := rapid.Uint64Range(MinDepositGwei, ActivationGwei).Draw(rt, "amount")
		fork := [4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(rt, "fork"))

		deposit, err := NewDepositData(key, credentials, amount, fork)
		require.NoError(rt, err)
		message, root := deposit.MessageRoot(), deposit.Root()
		require.Equal(rt, slowMessageRoot(deposit), message[:])
		require.Equal(rt, slowDataRoot(deposit), root[:])
		require.Equal(rt, slowSigningRoot(deposit, fork), deposit.SigningRoot(fork))
		require.True(rt, slowVerify(t, deposit.PublicKey, slowSigningRoot(deposit, fork), deposit.Signature))
		require.NoError(rt, deposit.Verify(fork))
	})
}

func TestTamperedDepositsDoNotVerify(t *testing.T) {
	t.Parallel()
	fork := networks["hoodi"].ForkVersion
	deposit, other := testDeposit(t, 0, fork), testDeposit(t, 1, fork)
	require.NoError(t, deposit.Verify(fork))
	for name, tampered := range map[string]struct {
		change func(d *DepositData)
		want   error
	}{
		"another amount":       {func(d *DepositData) { d.AmountGwei-- }, ErrSignature},
		"too much":             {func(d *DepositData) { d.AmountGwei++ }, ErrAmount},
		"another address":      {func(d *DepositData) { d.Credentials[31] ^= 1 }, ErrSignature},
		"another type":         {func(d *DepositData) { d.Credentials[0] = 2 }, ErrSignature},
		"unknown type":         {func(d *DepositData) { d.Credentials[0] = 3 }, ErrCredentials},
		"padding":              {func(d *DepositData) { d.Credentials[5] = 3 }, ErrCredentials},
		"another key":          {func(d *DepositData) { d.PublicKey = other.PublicKey }, ErrSignature},
		"no key":               {func(d *DepositData) { d.PublicKey = PublicKey{} }, ErrPublicKey},
		"infinity":             {func(d *DepositData) { d.PublicKey, d.Signature = PublicKey{0xc0}, Signature{0xc0} }, ErrPublicKey},
		"another's signature":  {func(d *DepositData) { d.Signature = other.Signature }, ErrSignature},
		"no signature":         {func(d *DepositData) { d.Signature = Signature{} }, ErrSignature},
		"a bit of a signature": {func(d *DepositData) { d.Signature[50] ^= 1 }, ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := deposit
			tampered.change(&changed)
			require.ErrorIs(t, changed.Verify(fork), tampered.want)
		})
	}
	require.ErrorIs(t, deposit.Verify(networks["mainnet"].ForkVersion), ErrSignature, "another network")
}

func TestNewDepositDataRefusesWhatWouldLoseMoney(t *testing.T) {
	t.Parallel()
	key, err := testSeed(t).SigningKey(0)
	require.NoError(t, err)
	_, err = NewDepositData(key, Credentials{7}, ActivationGwei, [4]byte{})
	require.ErrorIs(t, err, ErrCredentials)
	_, err = NewDepositData(key, AddressCredentials(testAddress), 1, [4]byte{})
	require.ErrorIs(t, err, ErrAmount)
	key.Zero()
	_, err = NewDepositData(key, AddressCredentials(testAddress), ActivationGwei, [4]byte{})
	require.ErrorIs(t, err, ErrPublicKey)
}

func testDeposit(t testing.TB, index uint64, fork [4]byte) DepositData {
	t.Helper()
	key, err := testSeed(t).SigningKey(index)
	require.NoError(t, err)
	deposit, err := NewDepositData(key, AddressCredentials(testAddress), ActivationGwei, fork)
	require.NoError(t, err)
	return deposit
}
