package ethereum

import (
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/params"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func wei(t *testing.T, text string) *big.Int {
	t.Helper()
	n, ok := new(big.Int).SetString(text, 10)
	require.True(t, ok, "%q is no number", text)
	return n
}

// The summary says what is there, what is needed and what is missing, to the wei.
func TestFundsAreCounted(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), poorAccount, func(cfg *Config) { cfg.InFlight = 2 })
	s.pay(accountKey(stranger), s.address(), ether(70), nil)
	s.backend.Commit()
	s.ask("a", 5)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	f := s.machine.View().DepositStatus().GetFunds()
	require.Equal(t, ether(70).String(), f.GetBalanceWei())
	require.Equal(t, s.address().Bytes(), f.GetAccount())
	require.Equal(t, uint64(simulatedChainID), f.GetChainId())
	require.Equal(t, s.head().Number.Uint64(), f.GetBlock())
	require.GreaterOrEqual(t, wei(t, f.GetGasPriceWei()).Cmp(s.head().BaseFee), 0)

	// Two were signed in this pass: they wait no more, and are in flight.
	require.Equal(t, uint64(3), f.GetWaiting())
	inFlight, waiting, missing := wei(t, f.GetInFlightWei()), wei(t, f.GetWaitingWei()), wei(t, f.GetMissingWei())
	require.Positive(t, inFlight.Cmp(ether(64)))
	require.Negative(t, inFlight.Cmp(ether(65)))
	one := new(big.Int).Div(waiting, big.NewInt(3))
	gas := new(big.Int).Sub(one, ether(32))
	require.Zero(t, new(big.Int).Mod(gas, big.NewInt(gasLimit)).Sign(), "all of the gas at the cap")
	require.Positive(t, gas.Sign())
	require.Equal(t, new(big.Int).Sub(new(big.Int).Add(inFlight, waiting), ether(70)), missing)
	require.InEpsilon(t, rounded(missing), testutil.ToFloat64(d.metrics.costs.WithLabelValues(s.address().Hex(), "missing")), 1e-9)
	require.InEpsilon(t, rounded(waiting), testutil.ToFloat64(d.metrics.costs.WithLabelValues(s.address().Hex(), "waiting")), 1e-9)
	require.Positive(t, testutil.ToFloat64(d.metrics.gas.WithLabelValues()))
}

// The price of gas moves with every block; the log does not.
func TestFundsArePaced(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Now = func() time.Time { return now } })
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	logged := func() bool {
		t.Helper()
		before := s.machine.View().Meta().GetAppliedIndex()
		s.backend.Commit()
		require.NoError(t, d.pass(t.Context(), leader))
		return s.machine.View().Meta().GetAppliedIndex() > before
	}
	for range 5 {
		require.False(t, logged(), "an entry for each block")
		now = now.Add(detailPause)
	}
	s.pay(accountKey(stranger), s.address(), ether(1), nil)
	require.True(t, logged())
	require.Equal(t, new(big.Int).Add(ether(1_000_000), ether(1)).String(), s.machine.View().DepositStatus().GetFunds().GetBalanceWei())
	s.pay(accountKey(stranger), s.address(), ether(1), nil)
	require.False(t, logged(), "twice within the pause")
	now = now.Add(detailPause)
	require.True(t, logged())
	now = now.Add(gasPause)
	require.True(t, logged(), "the price of gas is of yesterday")
}

func TestIsNews(t *testing.T) {
	t.Parallel()
	old := &fsmpb.Funds{BalanceWei: "1", GasPriceWei: "7", Block: 3, WallMs: 9}
	for name, test := range map[string]struct {
		now   *fsmpb.Funds
		since time.Duration
		want  bool
	}{
		"nothing was seen":     {nil, time.Hour, false},
		"the same, later":      {&fsmpb.Funds{BalanceWei: "1", GasPriceWei: "7", Block: 4}, time.Hour, false},
		"gas":                  {&fsmpb.Funds{BalanceWei: "1", GasPriceWei: "8"}, gasPause - 1, false},
		"gas after a while":    {&fsmpb.Funds{BalanceWei: "1", GasPriceWei: "8"}, gasPause, true},
		"balance":              {&fsmpb.Funds{BalanceWei: "2"}, detailPause, true},
		"balance at once":      {&fsmpb.Funds{BalanceWei: "2"}, detailPause - 1, false},
		"another limit":        {&fsmpb.Funds{BalanceWei: "1", MaxPerDay: 1}, 0, true},
		"deposits are now off": {&fsmpb.Funds{BalanceWei: "1", DepositsOff: true}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, isNews(old, test.now, test.since))
			require.Equal(t, test.now != nil, isNews(nil, test.now, 0), "the first one")
		})
	}
}

func TestPriceOfADeposit(t *testing.T) {
	t.Parallel()
	s := &scene{cluster: newCluster(t), t: t, cfg: Config{AmountGwei: 2_048_000_000_000}}
	p := &pass{duty: s.duty()}
	got := p.price(fees{capWei: big.NewInt(3 * params.GWei)})
	require.Equal(t, new(big.Int).Add(ether(2048), big.NewInt(3*params.GWei*gasLimit)), got)
}
