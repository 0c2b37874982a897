package devchain_test

import (
	"bytes"
	"context"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/cluster/local/devchain"
)

// emptyRoot is get_deposit_root of a contract without deposits, as on every network.
var emptyRoot = common.HexToHash("0xd70a234731285c6804c2a4f56711ddb8c82c99740f207854891028af34e27e5e")

func TestDeposit(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	chain := start(t, devchain.Config{Dir: t.TempDir(), Funded: address(key)})
	d := newDepositor(t, chain.RPC(), key)

	require.Equal(t, devchain.DefaultChainID, chain.ChainID())
	require.Equal(t, devchain.DefaultChainID, d.chainID.Uint64())
	require.Equal(t, chain.DepositContract(), d.contract)
	require.Zero(t, d.count())
	require.Equal(t, emptyRoot, d.root())
	before, err := d.client.BalanceAt(t.Context(), address(key), nil)
	require.NoError(t, err)

	for n := range byte(3) {
		receipt := d.mined(d.send(n))
		require.Len(t, receipt.Logs, 1)
		require.Equal(t, depositEvent, receipt.Logs[0].Topics[0])
	}
	require.Equal(t, uint64(3), d.count())
	require.NotEqual(t, emptyRoot, d.root())
	require.Equal(t, []byte{0, 1, 2}, d.events())

	after, err := d.client.BalanceAt(t.Context(), address(key), nil)
	require.NoError(t, err)
	spent := new(big.Int).Sub(before, after)
	require.Equal(t, 1, spent.Cmp(new(big.Int).Mul(big.NewInt(3), stake())), "three stakes and gas are spent, not %s", spent)
}

func TestManyDepositsAtOnce(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	d := newDepositor(t, start(t, devchain.Config{Dir: t.TempDir(), Funded: address(key)}).RPC(), key)
	var sent []common.Hash
	for n := range byte(16) {
		sent = append(sent, d.send(n))
	}
	for _, hash := range sent {
		d.mined(hash)
	}
	require.Equal(t, uint64(16), d.count())
	require.Len(t, d.events(), 16)
}

func TestRevert(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	d := newDepositor(t, start(t, devchain.Config{Dir: t.TempDir(), Funded: address(key)}).RPC(), key)
	cases := map[string]struct {
		flip  bool
		value *big.Int
		want  string
	}{
		"wrong data root": {true, stake(), "reconstructed DepositData does not match supplied deposit_data_root"},
		"too little":      {false, big.NewInt(1), "deposit value too low"},
		"not whole gwei":  {false, new(big.Int).Add(stake(), big.NewInt(1)), "deposit value not multiple of gwei"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := d.client.EstimateGas(t.Context(), ethereum.CallMsg{
				From: address(key), To: &d.contract, Value: c.value, Data: d.input(0, c.flip),
			})
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestCadence(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	const period = 30 * time.Millisecond
	d := newDepositor(t, start(t, devchain.Config{Dir: t.TempDir(), Funded: address(key), Period: period}).RPC(), key)

	first, began := d.head(), time.Now()
	const blocks = 70 // past the second step of finality
	require.Eventually(t, func() bool {
		return d.head().Number.Uint64() >= first.Number.Uint64()+blocks
	}, patience, time.Millisecond, "empty blocks are sealed as well")
	require.GreaterOrEqual(t, time.Since(began), (blocks-1)*period, "not quicker than the period")

	for number := int64(2); number <= blocks; number++ {
		parent, err := d.client.HeaderByNumber(t.Context(), big.NewInt(number-1))
		require.NoError(t, err)
		child, err := d.client.HeaderByNumber(t.Context(), big.NewInt(number))
		require.NoError(t, err)
		require.Equal(t, parent.Hash(), child.ParentHash)
		require.Greater(t, child.Time, parent.Time)
		require.Equal(t, parent.Root, child.Root, "an empty block changes no state, so it costs no space")
	}
	for tag, step := range map[rpc.BlockNumber]uint64{rpc.FinalizedBlockNumber: 32, rpc.SafeBlockNumber: 1} {
		header, err := d.client.HeaderByNumber(t.Context(), big.NewInt(tag.Int64()))
		require.NoError(t, err)
		require.Zero(t, header.Number.Uint64()%step)
		require.GreaterOrEqual(t, header.Number.Uint64(), uint64(64))
	}
}

func TestModules(t *testing.T) {
	t.Parallel()
	chain := start(t, devchain.Config{Dir: t.TempDir(), Funded: address(newKey(t))})
	client, err := rpc.DialContext(t.Context(), chain.RPC())
	require.NoError(t, err)
	t.Cleanup(client.Close)
	for _, method := range []string{"eth_blockNumber", "net_version", "web3_clientVersion", "txpool_status", "eth_syncing"} {
		var result any
		require.NoError(t, client.CallContext(t.Context(), &result, method), method)
	}
	for _, method := range []string{"admin_nodeInfo", "debug_gcStats", "miner_setExtra", "engine_exchangeCapabilities"} {
		var result any
		err := client.CallContext(t.Context(), &result, method)
		require.ErrorContains(t, err, "does not exist/is not available", method)
	}
	var accounts []string
	require.NoError(t, client.CallContext(t.Context(), &accounts, "eth_accounts"))
	require.Empty(t, accounts, "the chain signs for nobody")
}

func TestForeignHostNameIsRefused(t *testing.T) {
	t.Parallel()
	chain := start(t, devchain.Config{Dir: t.TempDir(), Funded: address(newKey(t))})
	body := `{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}`
	for host, want := range map[string]int{"": 200, "localhost": 200, "rebound.example": 403} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, chain.RPC(), strings.NewReader(body))
		require.NoError(t, err)
		request.Host = host
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.StatusCode, "host %q", host)
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	good := devchain.Config{Dir: t.TempDir(), RPCAddr: "127.0.0.1:0", Funded: common.Address{1}}
	cases := map[string]struct {
		spoil func(*devchain.Config)
		want  string
	}{
		"no folder":     {func(c *devchain.Config) { c.Dir = "" }, "no data folder"},
		"no account":    {func(c *devchain.Config) { c.Funded = common.Address{} }, "no account to fund"},
		"mainnet":       {func(c *devchain.Config) { c.ChainID = 1 }, "public network mainnet"},
		"hoodi":         {func(c *devchain.Config) { c.ChainID = 560048 }, "public network hoodi"},
		"no port":       {func(c *devchain.Config) { c.RPCAddr = "127.0.0.1" }, "missing port"},
		"period":        {func(c *devchain.Config) { c.Period = time.Millisecond }, "shorter than"},
		"negative":      {func(c *devchain.Config) { c.Period = -time.Second }, "shorter than"},
		"port too high": {func(c *devchain.Config) { c.RPCAddr = "127.0.0.1:70000" }, "invalid port"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := good
			c.spoil(&config)
			_, err := devchain.Start(t.Context(), config)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	dir := t.TempDir()
	_, err = devchain.Start(t.Context(), devchain.Config{Dir: dir, RPCAddr: listener.Addr().String(), Funded: common.Address{1}})
	require.ErrorIs(t, err, devchain.ErrListen)
	require.ErrorContains(t, err, "address already in use")
	requireEmpty(t, dir)
}

func TestCancelledStart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := devchain.Start(ctx, devchain.Config{Dir: t.TempDir(), RPCAddr: "127.0.0.1:0", Funded: common.Address{1}})
	require.ErrorIs(t, err, context.Canceled)
}

func TestForkVersionIsNoPublicOne(t *testing.T) {
	t.Parallel()
	for _, public := range [][4]byte{{}, {0x90, 0, 0, 0x69}, {1, 1, 0x70, 0}, {0x10, 0, 9, 0x10}, {0, 0, 0x10, 0x20}} {
		require.False(t, bytes.Equal(public[:], devchain.ForkVersion[:]))
	}
}
