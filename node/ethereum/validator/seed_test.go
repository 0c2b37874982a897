package validator

import (
	"math/big"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Vectors of EIP-2333.
func TestDerivationVectors(t *testing.T) {
	t.Parallel()
	for name, vector := range map[string]struct {
		seed, master, child string
		index               uint32
	}{
		"case 0": {
			seed:   "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
			master: "6083874454709270928345386274498605044986640685124978867557563392430687146096",
			index:  0,
			child:  "20397789859736650942317412262472558107875392172444076792671091975210932703118",
		},
		"case 1": {
			seed:   "3141592653589793238462643383279502884197169399375105820974944592",
			master: "29757020647961307431480504535336562678282505419141012933316116377660817309383",
			index:  3141592653,
			child:  "25457201688850691947727629385191704516744796114925897962676248250929345014287",
		},
		"case 2": {
			seed:   "0099ff991111002299dd7744ee3355bbdd8844115566cc55663355668888cc00",
			master: "27580842291869792442942448775674722299803720648445448686099262467207037398656",
			index:  4294967295,
			child:  "29358610794459428860402234341874281240803786294062035874021252734817515685787",
		},
		"case 3": {
			seed:   "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3",
			master: "19022158461524446591288038168518313374041767046816487870552872741050760015818",
			index:  42,
			child:  "31372231650479070279774297061823572166496564838472787488249775572789064611981",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := unhex(vector.seed)
			require.Equal(t, vector.master, decimal(derive(seed).Serialize()))
			require.Equal(t, vector.child, decimal(derive(seed, vector.index).Serialize()))
			require.Equal(t, vector.master, slowMaster(t, seed).String(), "the second opinion")
			require.Equal(t, vector.child, slowPath(t, seed, vector.index).String(), "the second opinion")
		})
	}
}

func TestKeysFollowTheirPaths(t *testing.T) {
	t.Parallel()
	seed := testSeed(t)
	for _, index := range []uint64{0, 1, 42, 1<<32 - 1} {
		signing, err := seed.SigningKey(index)
		require.NoError(t, err)
		require.Equal(t, slowPath(t, seed.Bytes(), 12381, 3600, uint32(index), 0, 0).String(), decimal(signing.Bytes()),
			"signing key %d", index)
		withdrawal, err := seed.WithdrawalKey(index)
		require.NoError(t, err)
		require.Equal(t, slowPath(t, seed.Bytes(), 12381, 3600, uint32(index), 0).String(), decimal(withdrawal.Bytes()),
			"withdrawal key %d", index)
	}
	require.Equal(t, "m/12381/3600/7/0/0", SigningPath(7))
	require.Equal(t, "m/12381/3600/7/0", WithdrawalPath(7))
}

func TestKeyIndexOutOfRange(t *testing.T) {
	t.Parallel()
	seed := testSeed(t)
	for _, index := range []uint64{1 << 32, 1<<64 - 1} {
		_, err := seed.SigningKey(index)
		require.ErrorIs(t, err, ErrIndex)
		_, err = seed.WithdrawalKey(index)
		require.ErrorIs(t, err, ErrIndex)
	}
}

func TestSeedLength(t *testing.T) {
	t.Parallel()
	for _, length := range []int{0, 16, 32, 63, 65} {
		_, err := SeedFromBytes(make([]byte, length))
		require.ErrorIs(t, err, ErrSeed, "%d bytes", length)
	}
}

func TestSeedKeepsACopy(t *testing.T) {
	t.Parallel()
	raw := make([]byte, 64)
	raw[0] = 1
	seed, err := SeedFromBytes(raw)
	require.NoError(t, err)
	raw[0] = 2
	seed.Bytes()[0] = 3
	require.Equal(t, byte(1), seed.Bytes()[0])
}

func TestZeroedSeed(t *testing.T) {
	t.Parallel()
	seed := testSeed(t)
	before, err := seed.SigningKey(3)
	require.NoError(t, err)
	key := before.PublicKey()

	seed.Zero()
	seed.Zero()
	_, err = seed.SigningKey(3)
	require.ErrorIs(t, err, ErrZeroed)
	require.Nil(t, seed.Bytes())
	require.Empty(t, seed.Fingerprint())
	require.Equal(t, [64]byte{}, seed.state.Reveal().bytes)
	require.Equal(t, key, before.PublicKey(), "a key derived before stays usable")
}

func TestFingerprintIsThePublicKeyOfKeyZero(t *testing.T) {
	t.Parallel()
	seed := testSeed(t)
	key, err := seed.SigningKey(0)
	require.NoError(t, err)
	require.Equal(t, key.PublicKey().String(), seed.Fingerprint())
}

func TestSeedIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	seed := testSeed(t)
	want, err := seed.SigningKey(5)
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			key, err := seed.SigningKey(5)
			if err != nil { // the seed was cleared meanwhile
				return
			}
			if key.PublicKey() != want.PublicKey() {
				t.Error("a concurrent derivation differs")
			}
		})
	}
	group.Go(seed.Zero)
	group.Wait()
}

func TestDerivationAgreesWithTheSecondOpinion(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 64, 64).Draw(rt, "seed")
		index := rapid.Uint32().Draw(rt, "index")
		seed, err := SeedFromBytes(raw)
		require.NoError(rt, err)
		key, err := seed.SigningKey(uint64(index))
		require.NoError(rt, err)
		want := slowPath(t, raw, 12381, 3600, index, 0, 0)
		require.Equal(rt, want.String(), decimal(key.Bytes()))
		require.Equal(rt, slowPublicKey(want), key.PublicKey())
	})
}

func decimal(raw []byte) string { return new(big.Int).SetBytes(raw).String() }

// testSeed is the seed of the well-known mnemonic.
func testSeed(t testing.TB) *Seed {
	t.Helper()
	return testMnemonic(t).Seed("")
}
