package ethereum

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// patience bounds every wait of a test.
const patience = 30 * time.Second

func TestPaysEveryKeyOnce(t *testing.T) {
	t.Parallel()
	s := freshScene(t, newChain(t), 1)
	s.ask("a", 12)
	s.ask("b", 8)
	d, leader := s.duty(), s.begin()

	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, map[fsmpb.DepositState]int{
		fsmpb.DepositState_DEPOSIT_STATE_SENT: 16, fsmpb.DepositState_DEPOSIT_STATE_PLANNED: 4,
	}, s.states(), "status %s", s.detail())

	s.settle(d, leader)
	s.requirePaid(20)
	require.Empty(t, s.status())
	require.Len(t, s.machine.View().Allocation("default", "a").GetKeys(), 12)
	require.Len(t, s.machine.View().Allocation("default", "b").GetKeys(), 8)
	for deposit := range s.machine.View().Deposits(nil) {
		key := s.machine.View().Key(deposit.GetPubkey())
		credentials, err := s.cfg.Withdrawal.credentials(mustSeed(t, s), key.GetIndex())
		require.NoError(t, err)
		require.Equal(t, credentials[:], deposit.GetCredentials())
	}
}

func mustSeed(t *testing.T, s *scene) *validator.Seed {
	t.Helper()
	seed, err := s.seeds.Seed(t.Context())
	require.NoError(t, err)
	return seed
}

// More deposits in flight than fit into one JSON-RPC batch or one request for keys.
func TestManyInFlight(t *testing.T) {
	t.Parallel()
	const keys = batchCalls + 20
	s := newScene(t, newChain(t), 1, func(cfg *Config) {
		cfg.InFlight = keys
		cfg.AmountGwei = validator.MinDepositGwei
		cfg.Withdrawal = Withdrawal{Kind: Compounding, To: [20]byte{7}}
	})
	s.ask("a", keys)
	s.settle(s.duty(), s.begin())
	require.Equal(t, map[fsmpb.DepositState]int{fsmpb.DepositState_DEPOSIT_STATE_FINAL: keys}, s.states(), s.detail())
	require.Equal(t, uint64(keys), s.count())
}

// Keys are generated without a chain, several commands' worth in one pass.
func TestGeneratesManyKeys(t *testing.T) {
	t.Parallel()
	s := &scene{cluster: newCluster(t), t: t}
	const keys = 2*generateChunk + 1
	s.ask("a", keys)
	require.NoError(t, s.duty().pass(t.Context(), s.begin()))
	require.Equal(t, map[fsmpb.DepositState]int{fsmpb.DepositState_DEPOSIT_STATE_PLANNED: keys}, s.states())
	require.Equal(t, uint64(keys), s.machine.View().Meta().GetNextIndex())
	for i, pubkey := range s.machine.View().Request("default", "a").GetReserved() {
		key, err := mustSeed(t, s).SigningKey(uint64(i))
		require.NoError(t, err)
		require.Equal(t, key.PublicKey(), validator.PublicKey(pubkey))
	}
}

// The loop itself: it works without being told, through requests that come while
// it runs, and ends with its context.
func TestRun(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	s := freshScene(t, newChain(t), 1, func(cfg *Config) { cfg.Metrics = registry })
	d, leader := s.duty(), s.begin()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx, leader) }()
	for n, pod := range []string{"a", "b"} {
		s.ask(pod, 2)
		require.Eventually(t, func() bool {
			s.backend.Commit()
			return s.states()[fsmpb.DepositState_DEPOSIT_STATE_FINAL] == 2*(n+1)
		}, patience, time.Millisecond)
	}
	require.InDelta(t, 1, testutil.ToFloat64(d.metrics.client), 0)
	require.Positive(t, testutil.ToFloat64(d.metrics.balance))
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)

	stop()
	require.NoError(t, <-ended)
	require.Zero(t, testutil.CollectAndCount(d.metrics.balance), "a follower shows what it can not know")
	s.requirePaid(4)
}

// A status whose words change all the time is not proposed all the time.
func TestStatusIsNotRepeated(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	s := newScene(t, newChain(t), poorAccount, func(cfg *Config) { cfg.Now = func() time.Time { return now } })
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	before := s.detail()
	s.pay(accountKey(stranger), s.address(), ether(1), nil)
	s.backend.Commit()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, before, s.detail())
	now = now.Add(detailPause)
	require.NoError(t, d.pass(t.Context(), leader))
	require.NotEqual(t, before, s.detail())
	require.Contains(t, s.detail(), "has 1 ETH")
}

func TestMetricsCannotBeRegisteredTwice(t *testing.T) {
	t.Parallel()
	cfg := Config{Metrics: prometheus.NewRegistry()}
	_, err := New(cfg, seeds{})
	require.NoError(t, err)
	_, err = New(cfg, seeds{})
	require.Error(t, err)
}
