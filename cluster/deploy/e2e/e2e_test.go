//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/local/devchain"
)

// TestWholeLife is one life of a cluster: each step goes on with what the one before left, and ends with
// all of them agreeing on who holds what.
func TestWholeLife(t *testing.T) { //nolint:paralleltest // there is one Kubernetes
	s := openSite(t)
	s.clear(t)
	steps := []struct {
		name string
		play func(t *testing.T, s *site)
	}{
		{"install", install},
		{"validators get deposited keys", firstKeys},
		{"the leader's process is killed", leaderKilled},
		{"the leader's pod is deleted", leaderDeleted},
		{"a validator is deleted", validatorDeleted},
		{"a validator is evicted", validatorEvicted},
		{"a node is cut off", nodeCutOff},
		{"a node is off", nodeOff},
		{"a volume is lost", volumeLost},
		{"rolling restart under load", rollingRestart},
		{"five nodes, and three again", scaled},
		{"a node is drained", drained},
		{"leases: a node is cut off, and nobody has to say that it stopped", leasesRunOut},
	}
	for _, step := range steps {
		if !t.Run(step.name, func(t *testing.T) { step.play(t, s) }) {
			s.tell(t)
			return
		}
	}
}

// clear removes what an earlier run left, where the nodes were kept.
func (s *site) clear(t *testing.T) {
	t.Helper()
	s.run(t, "scripts/node", "up", s.dir)
	for _, namespace := range []string{validators, system} {
		s.kubectl(t, "delete", "namespace", namespace, "--ignore-not-found", "--timeout=90s")
	}
	s.kubectl(t, "delete", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/instance="+system)
	nodes, err := read[corev1.NodeList](t.Context(), s, "get", "nodes")
	require.NoError(t, err)
	for _, node := range nodes.Items {
		for _, taint := range node.Spec.Taints {
			if taint.Key == corev1.TaintNodeOutOfService {
				s.kubectl(t, "taint", "node", node.Name, taint.Key+"-")
			}
		}
	}
	s.kubectl(t, "uncordon", "node-1", "node-2")
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "node/volumes/journal")))
}

// tell shows what is needed to understand a failure.
func (s *site) tell(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "nodes,pods,pvc", "-A", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp", "--field-selector=type=Warning"},
		{"logs", "-n", system, "-l", "app.kubernetes.io/component=server", "--tail=15", "--prefix"},
		{"logs", "-n", validators, "-l", "app.kubernetes.io/name=validators", "-c", "keys", "--tail=10", "--prefix"},
	} {
		out, err := s.try(t.Context(), "", "bin/tools/kubectl", args...)
		t.Logf("kubectl %s\n%s %v", strings.Join(args, " "), out, err)
	}
	out, err := s.tryKeysteward(t.Context(), "assignments", "--output", "yaml")
	t.Logf("assignments\n%s %v", out, err)
}

func install(t *testing.T, s *site) {
	t.Helper()
	s.loadBox(t)
	s.kubectl(t, "create", "namespace", system)
	s.kubectl(t, "apply", "-f", "cluster/deploy/e2e/testdata/validators/namespace.yaml")
	chain := s.startChain(t)
	// The members are on node-1, so that the other can be lost without them.
	s.kubectl(t, "cordon", "node-2")
	values := filepath.Join(t.TempDir(), "values.yaml")
	require.NoError(t, os.WriteFile(values, []byte(s.values(t, chain)), 0o600))
	s.run(t, "bin/tools/helm", "install", "keysteward", "cluster/deploy/chart", "-n", system, "-f", values)
	s.awaitAll(t, system, "keysteward")
	s.fetchAccess(t)
	s.whole(t, 3)
	s.leader(t, "")
	s.kubectl(t, "uncordon", "node-2")
	s.keysteward(t, "init", "--yes", "--mnemonic-out", s.access("words"))
}

func (s *site) values(t *testing.T, chain *devchain.Chain) string {
	t.Helper()
	template, err := os.ReadFile("testdata/values.yaml")
	require.NoError(t, err)
	return strings.NewReplacer("@CHAIN_ID@", strconv.FormatUint(chain.ChainID(), 10), "@CONTRACT@", chain.DepositContract().Hex(),
		"@FORK@", fmt.Sprintf("0x%x", devchain.ForkVersion), "@RPC@", chain.RPC(),
		"@GENESIS@", strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10)).Replace(string(template))
}

func firstKeys(t *testing.T, s *site) {
	t.Helper()
	s.kubectl(t, "apply", "-k", "cluster/deploy/e2e/testdata/validators")
	s.awaitAll(t, validators, validators)
	s.agree(t)
}

func leaderKilled(t *testing.T, s *site) {
	t.Helper()
	before := s.agree(t)
	leader := s.leader(t, "")
	s.kill(t, leader, "keysteward")
	s.awaitAll(t, system, "keysteward")
	s.leader(t, "")
	s.whole(t, 3)
	require.Equal(t, before, s.agree(t))
}

func leaderDeleted(t *testing.T, s *site) {
	t.Helper()
	before := s.agree(t)
	leader := s.leader(t, "")
	s.kubectl(t, "delete", "pod", leader.Name, "-n", system)
	s.leader(t, string(leader.UID))
	s.awaitReady(t, system, leader.Name, string(leader.UID))
	s.whole(t, 3)
	require.Equal(t, before, s.agree(t))
}

// validatorDeleted deletes one the ordinary way: its keys come back to its name once all has ended.
func validatorDeleted(t *testing.T, s *site) {
	t.Helper()
	before := s.agree(t)
	old := s.pod(t, validators, "validators-0")
	s.kubectl(t, "delete", "pod", old.Name, "-n", validators)
	s.awaitReady(t, validators, old.Name, string(old.UID))
	require.Equal(t, before, s.agree(t))
}

func validatorEvicted(t *testing.T, s *site) {
	t.Helper()
	before := s.agree(t)
	old := s.pod(t, validators, "validators-1")
	eviction := `{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "validators-1"}}`
	_, err := s.try(t.Context(), eviction, "bin/tools/kubectl", "create", "-f", "-", "--raw",
		"/api/v1/namespaces/"+validators+"/pods/"+old.Name+"/eviction")
	require.NoError(t, err)
	s.awaitReady(t, validators, old.Name, string(old.UID))
	require.Equal(t, before, s.agree(t))
}

// onNode2 returns two validators that run on node-2, after it has moved all of them there.
func (s *site) onNode2(t *testing.T) (first, second corev1.Pod) {
	t.Helper()
	s.kubectl(t, "cordon", "node-1")
	s.kubectl(t, "wait", "--for=condition=Ready", "node/node-2", "--timeout=60s")
	s.kubectl(t, "scale", "statefulset", validators, "-n", validators, "--replicas=3")
	s.awaitAll(t, validators, validators)
	var elsewhere []corev1.Pod
	for _, name := range []string{"validators-0", "validators-1", "validators-2"} {
		if pod := s.pod(t, validators, name); pod.Spec.NodeName != "node-2" {
			s.kubectl(t, "delete", "pod", name, "-n", validators, "--wait=false")
			elsewhere = append(elsewhere, pod)
		}
	}
	for _, pod := range elsewhere {
		s.awaitReady(t, validators, pod.Name, string(pod.UID))
	}
	s.kubectl(t, "uncordon", "node-1")
	return s.pod(t, validators, "validators-1"), s.pod(t, validators, "validators-2")
}

// nodeCutOff is what must never go wrong: containers run on where nobody sees them, and one pod of them is
// force-deleted meanwhile.
func nodeCutOff(t *testing.T, s *site) {
	t.Helper()
	forced, waiting := s.onNode2(t)
	before := s.agree(t)
	s.kubectl(t, "cordon", "node-2")
	s.run(t, "scripts/node", "cut", s.dir, "2")
	s.kubectl(t, "delete", "pod", forced.Name, "-n", validators, "--force", "--grace-period=0")
	s.awaitResting(t, forced)

	// Long after the new one was started the old one signs, and the new one has nothing.
	await(t, time.Minute, "node-2 is not ready, its pods are being deleted", func(c *assert.CollectT) {
		pod := s.pod(t, validators, waiting.Name)
		require.NotNil(c, pod.DeletionTimestamp)
	})
	signed := s.lastSign(t, string(forced.UID))
	await(t, 10*time.Second, "the one cut off signs on", func(c *assert.CollectT) {
		require.Greater(c, s.lastSign(t, string(forced.UID)), signed+2*time.Second)
	})
	require.False(t, ready(s.pod(t, validators, forced.Name)))
	assigned, err := s.assignments(t.Context())
	require.NoError(t, err)
	require.Equal(t, wire.AllocationStateHeld, assigned[waiting.Name].State, "one that is being deleted holds its keys")
	s.signedOnce(t)

	// The node comes back. Its kubelet ends both; of the one that was force-deleted nobody hears that.
	s.run(t, "scripts/node", "up", s.dir)
	s.awaitReady(t, validators, waiting.Name, string(waiting.UID))
	s.awaitResting(t, forced)
	s.kubectl(t, "uncordon", "node-2")
	s.awaitSilent(t, forced)
	s.keysteward(t, "release", "--namespace", validators, "--pod", forced.Name, "--pod-uid", string(forced.UID), "--confirm-stopped")
	s.awaitReady(t, validators, forced.Name, string(forced.UID))
	require.Equal(t, before, s.agree(t))
}

// awaitResting waits until the keys of a pod rest for the reason that it was force-deleted.
func (s *site) awaitResting(t *testing.T, pod corev1.Pod) {
	t.Helper()
	await(t, 20*time.Second, pod.Name+" rests", func(c *assert.CollectT) {
		assigned, err := s.assignments(t.Context())
		require.NoError(c, err)
		one := assigned[pod.Name]
		require.Equal(c, string(pod.UID), one.PodUID)
		require.Equal(c, wire.AllocationStateResting, one.State)
		require.Equal(c, "force-deleted", one.Rest.Code, one.Rest.Detail)
	})
}

// awaitSilent waits until a pod's container signs no more.
func (s *site) awaitSilent(t *testing.T, pod corev1.Pod) {
	t.Helper()
	last, since := s.lastSign(t, string(pod.UID)), time.Now()
	await(t, time.Minute, pod.Name+" is silent", func(c *assert.CollectT) {
		if now := s.lastSign(t, string(pod.UID)); now != last {
			last, since = now, time.Now()
		}
		require.Greater(c, time.Since(since), 2*time.Second)
	})
}

// nodeOff takes the power from a node: the operator's word, a taint, sets its keys free.
func nodeOff(t *testing.T, s *site) {
	t.Helper()
	lost, _ := s.onNode2(t)
	before := s.agree(t)
	s.run(t, "scripts/node", "off", s.dir, "2")
	await(t, time.Minute, "node-2 is not ready, its pods are being deleted", func(c *assert.CollectT) {
		require.NotNil(c, s.pod(t, validators, lost.Name).DeletionTimestamp)
	})
	assigned, err := s.assignments(t.Context())
	require.NoError(t, err)
	require.Equal(t, wire.AllocationStateHeld, assigned[lost.Name].State)
	s.kubectl(t, "taint", "node", "node-2", "node.kubernetes.io/out-of-service=off:NoExecute")
	s.awaitReady(t, validators, lost.Name, string(lost.UID))
	s.awaitAll(t, validators, validators)
	require.Equal(t, before, s.agree(t))
	s.kubectl(t, "taint", "node", "node-2", "node.kubernetes.io/out-of-service:NoExecute-")
	s.run(t, "scripts/node", "up", s.dir)
}

// volumeLost takes the disk of a member: it joins again under another ID.
func volumeLost(t *testing.T, s *site) {
	t.Helper()
	before := s.agree(t)
	ids := s.whole(t, 3)
	lost := s.leader(t, "") // the worst one
	s.kubectl(t, "delete", "pvc", "data-"+lost.Name, "-n", system, "--wait=false")
	s.kubectl(t, "delete", "pod", lost.Name, "-n", system)
	s.awaitReady(t, system, lost.Name, string(lost.UID))
	now := s.whole(t, 3)
	require.NotEqual(t, ids[lost.Name], now[lost.Name], "the ID of the node that lost its disk")
	delete(ids, lost.Name)
	for name, id := range ids {
		require.Equal(t, id, now[name])
	}
	s.leader(t, "")
	require.Equal(t, before, s.agree(t))
}

func scaled(t *testing.T, s *site) {
	t.Helper()
	before := s.agree(t)
	s.kubectl(t, "scale", "statefulset", "keysteward", "-n", system, "--replicas=5")
	s.awaitAll(t, system, "keysteward")
	s.whole(t, 5)
	require.Equal(t, before, s.agree(t))
	s.kubectl(t, "scale", "statefulset", "keysteward", "-n", system, "--replicas=3")
	s.whole(t, 3)
	s.leader(t, "")
	require.Equal(t, before, s.agree(t))
}

// drained moves all pods to the other node, members too, as many at a time as their budget allows.
func drained(t *testing.T, s *site) {
	t.Helper()
	before := s.agree(t)
	s.kubectl(t, "drain", "node-1", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=110s")
	s.awaitAll(t, system, "keysteward")
	s.awaitAll(t, validators, validators)
	s.whole(t, 3)
	s.leader(t, "")
	require.Equal(t, before, s.agree(t))
	s.kubectl(t, "uncordon", "node-1")
}

// leasesRunOut cuts a node off once more, but where leases are on: the sidecar ends the validator that nobody
// can reach, and once its lease has run out another one has its keys.
func leasesRunOut(t *testing.T, s *site) {
	t.Helper()
	s.kubectl(t, "cordon", "node-2") // no members there
	s.run(t, "bin/tools/helm", "upgrade", "keysteward", "cluster/deploy/chart", "-n", system, "--reuse-values",
		"--set", "witness.leaseDuration=30s")
	s.awaitAll(t, system, "keysteward")
	s.kubectl(t, "uncordon", "node-2")
	lost, _ := s.onNode2(t)
	before := s.agree(t)
	await(t, time.Minute, "its sidecar has found out that there are leases now", func(c *assert.CollectT) {
		assigned, err := s.assignments(t.Context())
		require.NoError(c, err)
		require.Positive(c, assigned[lost.Name].LeaseEndsInMs)
	})

	s.kubectl(t, "cordon", "node-2")
	s.run(t, "scripts/node", "cut", s.dir, "2")
	s.kubectl(t, "delete", "pod", lost.Name, "-n", validators, "--force", "--grace-period=0")
	s.awaitResting(t, lost)
	s.awaitReady(t, validators, lost.Name, string(lost.UID))
	s.signedOnce(t)
	assigned, err := s.assignments(t.Context())
	require.NoError(t, err)
	require.Equal(t, before[lost.Name], assigned[lost.Name].Keys)
	s.run(t, "scripts/node", "up", s.dir)
	s.kubectl(t, "uncordon", "node-2")
	s.awaitAll(t, validators, validators)
	require.Equal(t, before, s.agree(t))
}
