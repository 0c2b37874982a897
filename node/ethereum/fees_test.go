package ethereum

import (
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/params"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestFormatETH(t *testing.T) {
	t.Parallel()
	for wei, want := range map[string]string{
		"0":                      "0",
		"1":                      "0.000000000000000001",
		"1000000000000000000":    "1",
		"32000000000000000000":   "32",
		"31500000000000000000":   "31.5",
		"-31500000000000000000":  "-31.5",
		"2048000000000000000001": "2048.000000000000000001",
	} {
		n, ok := new(big.Int).SetString(wei, 10)
		require.True(t, ok)
		require.Equal(t, want, formatETH(n))
	}
}

func bigs(label string) *rapid.Generator[*big.Int] {
	return rapid.Custom(func(t *rapid.T) *big.Int {
		return new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, label))
	})
}

func TestFormatETHLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		wei := bigs("wei").Draw(t, "wei")
		back, ok := new(big.Rat).SetString(formatETH(wei))
		require.True(t, ok)
		back.Mul(back, new(big.Rat).SetInt64(params.Ether))
		require.Zero(t, back.Cmp(new(big.Rat).SetInt(wei)), "%s is %s", wei, back)
	})
}

// What is affordable never costs more than there is, and one more would.
func TestHowMany(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		balance, reserved := bigs("balance").Draw(t, "balance"), bigs("reserved").Draw(t, "reserved")
		price := new(big.Int).Add(bigs("price").Draw(t, "price"), big.NewInt(1))
		most := rapid.IntRange(0, MaxInFlight).Draw(t, "most")
		n := howMany(balance, reserved, price, most)
		cost := func(n int) *big.Int {
			c := new(big.Int).Mul(price, big.NewInt(int64(n)))
			return c.Add(c, reserved)
		}
		require.GreaterOrEqual(t, n, 0)
		require.LessOrEqual(t, n, most)
		require.True(t, n == 0 || cost(n).Cmp(balance) <= 0, "%d cost more than the balance", n)
		require.True(t, n == most || cost(n+1).Cmp(balance) > 0, "one more than %d was affordable", n)
	})
}

func TestFees(t *testing.T) {
	t.Parallel()
	at := func(base, tip int64) world {
		return world{head: &block{BaseFee: (*hexutil.Big)(gwei(base))}, tip: gwei(tip)}
	}
	const most = 2000 * params.GWei
	got, w := feesNow(at(10, 2), most)
	require.Nil(t, w)
	require.Equal(t, gwei(22), got.capWei)
	require.Equal(t, gwei(2), got.tipWei)

	got, w = feesNow(at(10, 0), most)
	require.Nil(t, w)
	require.Equal(t, gwei(1), got.tipWei, "clients refuse transactions without a tip")

	got, w = feesNow(at(1500, 1), most)
	require.Nil(t, w)
	require.Equal(t, gwei(2000), got.capWei, "as much room as the cap has")

	for _, world := range []world{at(2000, 1), at(1, 3000)} {
		_, w = feesNow(world, most)
		require.NotNil(t, w)
		require.Equal(t, FeeCapReached, w.code)
		require.Contains(t, w.detail, "--max-fee-gwei 2000")
	}
}

func gwei(n int64) *big.Int { return new(big.Int).Mul(big.NewInt(n), big.NewInt(params.GWei)) }

func TestFinalBlock(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		head          uint64
		finalized     *block
		confirmations uint64
		want          uint64
		ok            bool
	}{
		"the chain has none":      {head: 5},
		"the chain has one":       {head: 50, finalized: &block{Number: 32}, want: 32, ok: true},
		"one is the head":         {head: 5, confirmations: 1, want: 5, ok: true},
		"genesis":                 {head: 0, confirmations: 1, want: 0, ok: true},
		"three":                   {head: 5, confirmations: 3, want: 3, ok: true},
		"three, of which genesis": {head: 2, confirmations: 3, want: 0, ok: true},
		"not so many blocks":      {head: 1, confirmations: 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := finalBlock(test.head, test.finalized, test.confirmations)
			require.Equal(t, test.want, got)
			require.Equal(t, test.ok, ok)
		})
	}
}
