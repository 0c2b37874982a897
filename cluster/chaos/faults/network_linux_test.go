package faults_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/cluster/chaos/faults"
	"github.com/keysteward/keysteward/cluster/chaos/netns"
	"github.com/keysteward/keysteward/cluster/local"
)

// Nodes with addresses of their own and TLS, in namespaces: this test runs itself again in
// a fresh one.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Log("needs root, to make network namespaces")
		return
	}
	if !netns.Inside() {
		binary, err := keysteward() // nothing can be fetched in there
		require.NoError(t, err)
		require.NoError(t, os.Setenv(built, binary)) //nolint:usetesting // parallel, and nobody else sets it
		require.NoError(t, netns.Enter(t.Context(), "-test.run=^TestNamespaces$", "-test.v"))
		return
	}
	network, err := netns.New(3)
	require.NoError(t, err)
	t.Cleanup(network.Close)
	s := raise(t, local.NodesOptions{TLS: true, Place: network}, nil)
	leader := s.leader()
	for _, f := range []faults.Fault{
		faults.Isolated(network, leader, 3),
		faults.Blocked(network, leader, (leader+1)%3),
	} {
		began := time.Now()
		heal := s.inject(f)
		s.decides()
		t.Logf("%s: decided after %v", f.Name(), time.Since(began))
		heal()
	}
	leader = s.leader()
	heal := s.inject(faults.Isolated(network, leader, 3))
	require.Eventually(t, func() bool { now := s.leader(); return now != leader && now >= 0 }, patience, tick, "another one leads")
	heal()
	const late = 100 * time.Millisecond
	var heals []func()
	for i := range 3 {
		heals = append(heals, s.inject(faults.Delayed(network, i, 3, late/2)))
	}
	began := time.Now()
	s.decides()
	require.GreaterOrEqual(t, time.Since(began), 2*late, "there and back")
	for _, heal := range heals {
		heal()
	}

	leader = s.leader()
	mark := s.mark(leader)
	heal = s.inject(s.CertificateExpires(leader, 2*time.Second))
	s.logged(leader, mark, "certificates are not valid")
	began = time.Now()
	s.decides()
	t.Logf("certificates of the leader over: decided after %v", time.Since(began))
	heal()
}
