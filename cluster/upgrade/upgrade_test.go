package upgrade

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	_ "github.com/keysteward/keysteward/api" // so that a result is not taken from Go's cache when the program changed
	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	_ "github.com/keysteward/keysteward/cluster"
	"github.com/keysteward/keysteward/cluster/local"
	"github.com/keysteward/keysteward/cluster/local/devchain"
	"github.com/keysteward/keysteward/fsm"
)

const (
	members  = 3
	patience = 2 * time.Minute // on a machine that is busy with other things too
)

func scene(t *testing.T) *rolling {
	t.Helper()
	older, err := exec.CommandContext(t.Context(), filepath.Join("..", "..", "scripts", "older")).Output()
	require.NoError(t, err, "the older version can not be built: %s", stderr(err))
	newer := filepath.Join(t.TempDir(), "keysteward")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", newer, ".")
	build.Dir = filepath.Join("..", "..")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	r := &rolling{t: t, newer: newer}
	r.nodes, err = local.OpenNodes(t.Context(), filepath.Join(t.TempDir(), "nodes"), strings.TrimSpace(string(older)), members)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for i := range members {
				t.Log(r.nodes.LogTail(fmt.Sprint("n", i+1)))
			}
		}
		require.NoError(t, r.nodes.Close())
	})
	chain, err := devchain.Start(t.Context(), devchain.Config{Dir: filepath.Join(t.TempDir(), "chain"), RPCAddr: r.nodes.ChainAddress(), Funded: r.nodes.FundedAddress(), Period: 100 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, chain.Close()) })
	r.chain = local.ClusterChain{
		RPC: chain.RPC(), ChainID: chain.ChainID(), DepositContract: chain.DepositContract().Hex(),
		ForkVersion: fmt.Sprintf("0x%x", devchain.ForkVersion), FundedAddress: r.nodes.FundedAddress().Hex(),
	}
	require.NoError(t, r.nodes.Start(t.Context(), r.chain, func(int) []string { return nil }, nil))
	r.client = r.newClient()
	return r
}

func stderr(err error) string {
	exit := (*exec.ExitError)(nil)
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}

// rolling is a cluster whose nodes get another program one by one.
type rolling struct {
	t      *testing.T
	newer  string
	nodes  *local.Nodes
	chain  local.ClusterChain
	client *client.Client
}

func (r *rolling) newClient() *client.Client {
	r.t.Helper()
	c, err := client.New(client.Config{
		Servers: r.nodes.APIs(), TokenFile: r.nodes.AdminToken(), RetryFor: patience, RequestTimeout: 5 * time.Second,
	})
	require.NoError(r.t, err)
	r.t.Cleanup(c.Close)
	return c
}

// keys asks until the pod has its keys.
func keys(ctx context.Context, c *client.Client, pod string, n int64) (*wire.Allocation, error) {
	for {
		a, _, err := c.Allocate(ctx, wire.AllocationRequest{Namespace: "upgrade", Pod: pod, PodUID: pod + "-uid", Keys: n}, time.Second)
		if err != nil || a != nil {
			return a, err
		}
	}
}

// next stops a node as Kubernetes does and starts it again, and returns when all are ready.
func (r *rolling) next(i int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	require.NoError(r.t, r.nodes.Signal(i, syscall.SIGTERM))
	require.NoError(r.t, r.nodes.AwaitEnd(ctx, i))
	require.NoError(r.t, r.nodes.Restart(ctx))
	require.NoError(r.t, r.nodes.AwaitReady(ctx))
}

// load is pods that get keys and give them back without a pause.
type load struct {
	workers sync.WaitGroup
	stop    context.CancelFunc
	done    atomic.Int64
	mu      sync.Mutex
	failed  error
}

func (r *rolling) load(pods int) *load {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	l := &load{stop: cancel}
	for i := range pods {
		c := r.newClient()
		l.workers.Go(func() {
			for ctx.Err() == nil {
				if err := l.once(ctx, c, fmt.Sprint("load-", i)); err != nil && ctx.Err() == nil {
					l.mu.Lock()
					l.failed = errors.Join(l.failed, err)
					l.mu.Unlock()
				}
			}
		})
	}
	r.t.Cleanup(l.end)
	return l
}

func (l *load) once(ctx context.Context, c *client.Client, pod string) error {
	a, err := keys(ctx, c, pod, 1)
	if err != nil {
		return fmt.Errorf("allocate for %s: %w", pod, err)
	}
	l.done.Add(1)
	return c.Release(ctx, client.ReleaseOptions{Namespace: a.Namespace, Pod: pod, PodUID: a.PodUID, Fence: a.Fence})
}

func (l *load) end() {
	l.stop()
	l.workers.Wait()
}

// more waits until the load got keys some more times: the cluster works.
func (r *rolling) more(l *load) {
	r.t.Helper()
	want := l.done.Load() + 5
	require.Eventually(r.t, func() bool { return l.done.Load() >= want }, patience, 20*time.Millisecond, "nobody gets keys")
}

// level is the feature level that the cluster answers; old versions do not answer one.
func (r *rolling) level() int {
	r.t.Helper()
	cluster, err := r.client.Cluster(r.t.Context())
	require.NoError(r.t, err)
	return cluster.FeatureLevel
}

// newLeads sees to it that a node of the new version leads while one is still old, by
// pausing the old one, which then follows it and has to understand all that it logs.
func (r *rolling) newLeads(old int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	require.NoError(r.t, r.nodes.Signal(old, syscall.SIGSTOP))
	require.Eventually(r.t, func() bool {
		c, err := r.client.Cluster(r.t.Context())
		return err == nil && c.Leader != "" && !strings.HasPrefix(c.Leader, fmt.Sprint("n", old+1, "-"))
	}, patience, 20*time.Millisecond, "no new node leads")
	require.NoError(r.t, r.nodes.Signal(old, syscall.SIGCONT))
	require.NoError(r.t, r.nodes.AwaitReady(ctx))
	// Long enough for a leader that would raise the level too early to do so.
	for range 3 {
		second := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
		case <-second.C:
		}
		require.Zero(r.t, r.level(), "one node is still old")
	}
	require.NoError(r.t, r.nodes.AwaitReady(ctx))
}

// A cluster of the older version becomes one of this version, node by node under load:
// nobody's request fails, nobody loses a key, nothing is paid for twice, and what only
// the new version knows begins when the last node has it.
func TestRollFromTheOlderVersion(t *testing.T) {
	t.Parallel()
	r := scene(t)
	held, err := keys(t.Context(), r.client, "holder", 3)
	require.NoError(t, err)
	l := r.load(3)
	r.more(l)

	r.nodes.Use(r.newer)
	for i := members - 1; i >= 0; i-- { // as a StatefulSet does
		require.Zero(t, r.level(), "%d nodes are still old", i+1)
		r.next(i)
		r.more(l)
		if i == 1 {
			r.newLeads(0)
			r.more(l)
		}
	}
	require.Eventually(t, func() bool { return r.level() == fsm.FeatureLevel }, patience, 50*time.Millisecond, "the feature level is not raised")
	r.more(l)
	r.next(0) // a restart of the new version, after entries that only it knows
	r.more(l)
	l.end()
	require.NoError(t, l.failed)

	again, err := keys(t.Context(), r.client, "holder", 3)
	require.NoError(t, err)
	require.Equal(t, held.Keys, again.Keys, "the same keys, under the same fence")
	require.Equal(t, held.Fence, again.Fence)
	r.requireNothingPaidTwice()
}

// requireNothingPaidTwice compares what was paid with the chain, by this version's
// command, and counts one deposit for each key.
func (r *rolling) requireNothingPaidTwice() {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		out, err := r.nodes.Keysteward(r.t.Context(), "deposits", "verify", "--execution-rpc", r.chain.RPC,
			"--deposit-contract", r.chain.DepositContract, "--fork-version", r.chain.ForkVersion, "--settle", "0s")
		if err != nil {
			r.t.Log(out)
		}
		return err == nil
	}, patience, time.Second, "deposits verify")
	seen := map[string]bool{}
	for d, err := range r.client.Deposits(r.t.Context(), "") {
		require.NoError(r.t, err)
		require.False(r.t, seen[d.Pubkey], d.Pubkey)
		seen[d.Pubkey] = true
	}
	require.GreaterOrEqual(r.t, len(seen), 6)
	for _, api := range r.nodes.APIs() {
		resp, err := http.Get(api + "/readyz")
		require.NoError(r.t, err)
		require.NoError(r.t, resp.Body.Close())
		require.Equal(r.t, http.StatusOK, resp.StatusCode)
	}
}
