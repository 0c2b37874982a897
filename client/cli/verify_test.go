package cli

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	cluster := stocked(t)
	chain := clienttest.StartChain(t)
	chain.Pay(cluster)
	args := []string{"deposits", "verify", "--execution-rpc", chain.URL(), "--deposit-contract", clienttest.Contract, "--settle", "0s"}
	got := at(cluster).run(t, append(args, "--fork-version", clienttest.ForkVersion)...)
	require.Zero(t, got.code, got.err)
	golden(t, "verify.golden", got.out)

	chain.Lock()
	chain.Payments[1].AmountGwei = 1
	chain.Unlock()
	got = at(cluster).run(t, args...)
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.out, "other-deposit")
	require.Contains(t, got.out, "note: signatures were not verified")
	require.Contains(t, got.err, "1 difference")

	for name, args := range map[string][]string{
		"execution-rpc": {"deposits", "verify"},
		"contract":      {"deposits", "verify", "--execution-rpc", chain.URL()},
		"checksum":      {"deposits", "verify", "--execution-rpc", chain.URL(), "--deposit-contract", "0x00000000219ab540356cBB839Cbe05303d7705Fb"},
		"fork-version":  {"deposits", "verify", "--execution-rpc", chain.URL(), "--fork-version", "0x1"},
		"settle":        {"deposits", "verify", "--execution-rpc", chain.URL(), "--settle", "-1s"},
	} {
		got := at(cluster).run(t, args...)
		require.Equal(t, ExitUsage, got.code, "%s: %s", name, got.err)
		require.Contains(t, got.err, name)
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	cluster := stocked(t)
	left := map[string]wire.DepositState{
		cluster.Key(0).PublicKey().String(): wire.DepositStateSigned,
		cluster.Key(1).PublicKey().String(): wire.DepositStatePlanned,
	}
	cluster.ChangeDeposit = func(d *wire.Deposit) {
		if state, ok := left[d.Pubkey]; ok {
			d.State = state
		}
	}
	got := at(cluster).run(t, "deposits", "export", "--fork-version", clienttest.ForkVersion, "--network", "testnet")
	require.Zero(t, got.code, got.err)
	require.Equal(t, "left out: 1 deposit, signed and not known to be sent\n", got.err)
	var file []map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.out), &file))
	require.Len(t, file, 2)
	for _, entry := range file {
		require.Equal(t, "testnet", entry["network_name"])
		require.Equal(t, "10000038", entry["fork_version"])
		require.InDelta(t, 32e9, entry["amount"], 0)
	}

	got = at(cluster).run(t, "deposits", "export")
	require.Equal(t, ExitUsage, got.code)
	require.Contains(t, got.err, "chain 1337 is no public network")
	got = at(cluster).run(t, "deposits", "export", "--fork-version", "0x00000000")
	require.Equal(t, ExitFailure, got.code, "signed for another network")
	require.Contains(t, got.err, "does not verify")
	require.Empty(t, got.out)
}
