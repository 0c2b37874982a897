package client

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

// Each member is asked about itself; one that is down is left out.
func TestClusterOfAll(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 4)
	cluster.DepositEvents = map[int]wire.DepositEvents{
		0: {NextBlock: 5, Head: 4, Complete: true}, 1: {NextBlock: 2, Head: 4}, 2: {NextBlock: 3, Head: 4},
	}
	cluster.Kill(2)
	c, _ := connect(t, cluster)
	_, err := c.Cluster(t.Context())
	require.NoError(t, err)
	all, err := c.ClusterOfAll(t.Context())
	require.NoError(t, err)
	require.Len(t, all.Nodes, 4)
	for i, node := range all.Nodes {
		want := cluster.DepositEvents[i]
		if i == 2 {
			want = wire.DepositEvents{}
		}
		require.Equal(t, want, node.DepositEvents, "node %d", i)
	}

	cluster.DepositEvents = nil // without an execution client
	all, err = c.ClusterOfAll(t.Context())
	require.NoError(t, err)
	require.Empty(t, all.Nodes[1].DepositEvents)
}
