package local

import (
	"encoding/json"
	"io/fs"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/keystore"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// This file looks at what clusters have done: on the chain, on the disk, in answers.

// depositEvents counts the DepositEvents on the chain by public key.
func depositEvents(t *testing.T, chain ClusterChain) map[string]int {
	t.Helper()
	c, err := ethclient.DialContext(t.Context(), chain.RPC)
	require.NoError(t, err)
	defer c.Close()
	logs, err := c.FilterLogs(t.Context(), ethereum.FilterQuery{
		FromBlock: big.NewInt(0), Addresses: []common.Address{common.HexToAddress(chain.DepositContract)},
	})
	require.NoError(t, err)
	count := map[string]int{}
	for _, log := range logs {
		request, err := types.DepositLogToRequest(log.Data)
		require.NoError(t, err)
		count[validator.PublicKey(request[:48]).String()]++
	}
	return count
}

// requireDepositedOnce holds if the chain has exactly one deposit for each of the
// keys, and none for any other.
func requireDepositedOnce(t *testing.T, chain ClusterChain, keys []string) {
	t.Helper()
	want := map[string]int{}
	for _, key := range keys {
		want[key]++
	}
	for key, times := range want {
		require.Equal(t, 1, times, "%s was handed out %d times", key, times)
	}
	require.Equal(t, want, depositEvents(t, chain))
}

// readPod decrypts every keystore of a pod's folder; each must be of the public key
// that its name says.
func readPod(t *testing.T, out string, want int) (keys []string, secrets [][]byte) {
	t.Helper()
	entries, err := keystore.Read(t.Context(), out)
	require.NoError(t, err)
	require.Len(t, entries, want)
	for _, e := range entries {
		keys = append(keys, e.PublicKey.String())
		secrets = append(secrets, e.Secret.Bytes())
	}
	return keys, secrets
}

// assignments returns who holds what, as the leader knows it; nothing in it depends
// on when it was asked.
func (l *launched) assignments() []wire.Allocation {
	l.t.Helper()
	out, err := l.keysteward("assignments", "--consistency", "linearizable", "--output", "json")
	require.NoError(l.t, err)
	var answer wire.Assignments
	require.NoError(l.t, json.Unmarshal([]byte(out), &answer))
	return answer.Assignments
}

func (l *launched) clusterBy(node ClusterNode) wire.Cluster {
	l.t.Helper()
	return get[wire.Cluster](l.t, node.API+"/v1/cluster", l.file().AdminTokenFile)
}

// leader waits for a leader that some node knows, and returns it.
func (l *launched) leader() (leader ClusterNode) {
	l.t.Helper()
	require.Eventually(l.t, func() bool {
		file := l.file()
		for _, n := range file.Nodes {
			status, answer := ask(l.t, http.MethodGet, n.API+"/v1/cluster", file.AdminTokenFile, asJSON, nil)
			var c wire.Cluster
			if status != http.StatusOK || json.Unmarshal(answer, &c) != nil {
				continue
			}
			if n.ID == c.Leader { // it says so itself
				leader = n
				return true
			}
		}
		return false
	}, patience, 20*time.Millisecond, "no node leads")
	return leader
}

// caughtUp waits until the leader says that no node lacks anything.
func (l *launched) caughtUp() {
	l.t.Helper()
	var last wire.Cluster
	require.Eventually(l.t, func() bool {
		last = l.clusterBy(l.leader())
		for _, n := range last.Nodes {
			if n.Lag != 0 {
				return false
			}
		}
		return len(last.Nodes) == len(l.file().Nodes)
	}, patience, 50*time.Millisecond, "a node lags behind: %+v", &last)
}

// fingerprint is name, time and content of every file below a folder.
func fingerprint(t *testing.T, dir string) map[string]string {
	t.Helper()
	prints := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path) //nolint:gosec // nobody else is in a test's folder
		prints[path] = info.ModTime().String() + " " + info.Mode().String() + " " + string(content)
		return err
	}))
	return prints
}
