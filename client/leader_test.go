package client

import (
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

func knowsLags(cluster wire.Cluster) bool {
	return !slices.ContainsFunc(cluster.Nodes, func(n wire.Node) bool { return n.Lag < 0 })
}

func TestClusterOfLeader(t *testing.T) {
	t.Parallel()
	for leader := range 3 {
		cluster := clienttest.Start(t, 3)
		cluster.Lead(leader)
		c, _ := connect(t, cluster, func(config *Config) { config.Servers = config.Servers[:1] })
		members, err := c.ClusterOfLeader(t.Context())
		require.NoError(t, err)
		require.True(t, knowsLags(members))
		require.Len(t, cluster.Requests(), min(leader, 1)+1, "the leader is asked once")
	}
}

// Where the leader is of no help a follower's word stands.
func TestClusterOfAFollower(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*clienttest.Cluster){
		"no leader":     func(c *clienttest.Cluster) { c.Lead(-1) },
		"it is gone":    func(c *clienttest.Cluster) { c.Kill(1) },
		"it refuses":    func(c *clienttest.Cluster) { c.Intercept = failingNode(1, 500) },
		"no address":    func(c *clienttest.Cluster) { c.Members = []string{c.URLs()[0], ""} },
		"plain http":    func(c *clienttest.Cluster) { c.Members = []string{c.URLs()[0], "http://10.1.1.1:1"} },
		"nonsense":      func(c *clienttest.Cluster) { c.Members = []string{c.URLs()[0], "::"} },
		"another one's": func(c *clienttest.Cluster) { c.Intercept = answering(1, wire.Cluster{ClusterID: "other"}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 2)
			cluster.Lead(1)
			spoil(cluster)
			c, _ := connect(t, cluster, func(config *Config) { config.Servers = config.Servers[:1] })
			members, err := c.ClusterOfLeader(t.Context())
			require.NoError(t, err)
			require.Equal(t, clienttest.ClusterID, members.ClusterID)
			require.False(t, knowsLags(members))
		})
	}
}

// A node that lost its disk answers first, and there is no leader who could be asked: what
// the cluster is, the others know.
func TestClusterOfAnEmptyNode(t *testing.T) {
	t.Parallel()
	for name, servers := range map[string]int{"others know it": 3, "nobody else was named": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 3)
			cluster.Lead(-1)
			cluster.Kill(1)
			cluster.Intercept = answering(0, wire.Cluster{})
			c, _ := connect(t, cluster, func(config *Config) { config.Servers = config.Servers[:servers] })
			members, err := c.ClusterOfLeader(t.Context())
			require.NoError(t, err)
			if servers == 1 {
				require.Empty(t, members.ClusterID)
				return
			}
			require.Equal(t, clienttest.ClusterID, members.ClusterID)
			require.Len(t, members.Nodes, 3)
		})
	}
}

func TestNoTokenGoesFromHTTPSToHTTP(t *testing.T) {
	t.Parallel()
	cluster := clienttest.StartTLS(t, 1)
	plain := clienttest.Start(t, 2)
	cluster.Members = []string{cluster.URLs()[0], plain.URLs()[1]}
	cluster.Lead(1)
	c, _ := connect(t, cluster, func(config *Config) { config.CAFile = cluster.CAFile() })
	members, err := c.ClusterOfLeader(t.Context())
	require.NoError(t, err)
	require.False(t, knowsLags(members))
	require.Empty(t, plain.Requests(), "from https to http")
}

// What a member that no configured server is says about others is not believed.
func TestClusterOfLeaderByHearsay(t *testing.T) {
	t.Parallel()
	stranger := clienttest.Start(t, 1)
	cluster := clienttest.Start(t, 2)
	cluster.Lead(1)
	cluster.Intercept = func(node int, w http.ResponseWriter, r *http.Request) bool {
		if node != 1 || r.URL.Path != "/v1/cluster" {
			return false
		}
		clienttest.Answer(w, wire.Cluster{
			ClusterID: clienttest.ClusterID, Leader: "x", Nodes: []wire.Node{{ID: "x", API: stranger.URLs()[0], Lag: -1}},
		})
		return true
	}
	c, _ := connect(t, cluster, func(config *Config) { config.Servers = config.Servers[:1] })
	_, err := c.Seed(t.Context()) // the leader is asked first from now on
	require.NoError(t, err)
	members, err := c.ClusterOfLeader(t.Context())
	require.NoError(t, err)
	require.Equal(t, "x", members.Leader)
	require.Empty(t, stranger.Requests())
}

func failingNode(node, status int) func(int, http.ResponseWriter, *http.Request) bool {
	return func(asked int, w http.ResponseWriter, _ *http.Request) bool {
		if asked == node {
			clienttest.Problem(w, status, "internal", "")
		}
		return asked == node
	}
}

func answering(node int, value any) func(int, http.ResponseWriter, *http.Request) bool {
	return func(asked int, w http.ResponseWriter, _ *http.Request) bool {
		if asked == node {
			clienttest.Answer(w, value)
		}
		return asked == node
	}
}
