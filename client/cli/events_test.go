package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

func TestClusterStatusTellsOfDepositEvents(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 3)
	cluster.DepositEvents = map[int]wire.DepositEvents{
		0: {NextBlock: 813, Head: 812, Events: 20, Complete: true},
		1: {NextBlock: 500, Head: 999, Events: 7},
		2: {NextBlock: 500, Head: 999, Waiting: wire.Reason{Code: "event-index-failed", Detail: "no space left on device"}},
	}
	got := at(cluster).run(t, "cluster", "status")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "node-1: DepositEvents read up to block 812, 20 in all\n")
	require.Contains(t, got.out, "node-2: DepositEvents read before block 500 of 999 (50 %), 7 so far\n")
	require.Contains(t, got.out, "; waiting: no space left on device (event-index-failed)\n")
	require.Contains(t, at(cluster).run(t, "cluster", "status", "-o", "json").out, `"nextBlock": 500`)
}

func TestClusterStatusTellsOfOtherTerms(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 3)
	cluster.Terms = map[int]string{1: "amount-gwei=1", 2: "amount-gwei=1"}
	require.NotContains(t, at(cluster).run(t, "cluster", "status").out, "amount")
	cluster = clienttest.Start(t, 3)
	cluster.Terms = map[int]string{1: "amount-gwei=1", 2: "amount-gwei=2"}
	got := at(cluster).run(t, "cluster", "status")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "node-2 would deposit by other flags than others: amount-gwei=1\n")
	require.Contains(t, got.out, "node-3 would deposit by other flags than others: amount-gwei=2\n")
	require.NotContains(t, got.out, "node-1 would")
}
