//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/keysteward/keysteward/api/wire"
)

// access is where the certificate of the first admin is, for commands on the nodes.
func (s *site) access(file string) string { return filepath.Join(s.dir, "e2e", file) }

// fetchAccess takes the admin's certificate from the Secret that the chart's job made.
func (s *site) fetchAccess(t *testing.T) {
	t.Helper()
	secret, err := read[corev1.Secret](t.Context(), s, "get", "secret", "keysteward-admin", "-n", system)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(s.access(""), 0o700))
	s.life.Cleanup(func() { require.NoError(s.life, os.RemoveAll(s.access(""))) })
	for name, content := range secret.Data {
		require.NoError(t, os.WriteFile(s.access(name), content, 0o600))
	}
	s.kubectl(t, "create", "configmap", "keysteward-ca", "-n", validators, "--from-file="+s.access("ca.crt"))
}

// tryKeysteward runs the command of people where names of Services are known.
func (s *site) tryKeysteward(ctx context.Context, args ...string) (string, error) {
	command := append([]string{
		"enter", s.dir, "1", s.program(),
	}, args...)
	return s.try(ctx, "", "scripts/node", append(command,
		"--server", "https://keysteward."+system+".svc.cluster.local:8200", "--ca-file", s.access("ca.crt"),
		"--client-cert", s.access("tls.crt"), "--client-key", s.access("tls.key"))...)
}

func (s *site) keysteward(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.tryKeysteward(t.Context(), args...)
	require.NoError(t, err)
	return out
}

// assignments are what the cluster agrees on, by the name of the pod.
func (s *site) assignments(ctx context.Context) (map[string]wire.Allocation, error) {
	out, err := s.tryKeysteward(ctx, "assignments", "--output", "json", "--consistency", "linearizable")
	if err != nil {
		return nil, err
	}
	var list wire.Assignments
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	byPod := make(map[string]wire.Allocation)
	for _, one := range list.Assignments {
		byPod[one.Pod] = one
	}
	return byPod, nil
}

// agree checks that pods, the cluster and what validators read from their keystores all say the same,
// and that no key was ever in two places. It returns the keys of each pod.
func (s *site) agree(t *testing.T) map[string][]string {
	t.Helper()
	keys := make(map[string][]string)
	pods, err := read[corev1.PodList](t.Context(), s, "get", "pods", "-n", validators, "-l", "app.kubernetes.io/name=validators")
	require.NoError(t, err)
	set, err := read[appsv1.StatefulSet](t.Context(), s, "get", "statefulset", validators, "-n", validators)
	require.NoError(t, err)
	require.Len(t, pods.Items, int(*set.Spec.Replicas))
	assigned, err := s.assignments(t.Context())
	require.NoError(t, err)
	seen := make(map[string]string)
	for _, pod := range pods.Items {
		require.True(t, ready(pod), pod.Name)
		one, ok := assigned[pod.Name]
		require.True(t, ok, "%s has no allocation: %+v", pod.Name, assigned)
		require.Equal(t, string(pod.UID), one.PodUID, pod.Name)
		require.Equal(t, wire.AllocationState("held"), one.State, pod.Name)
		require.Len(t, one.Keys, 2, pod.Name)
		files := strings.Fields(s.kubectl(t, "exec", pod.Name, "-n", validators, "-c", "validator", "--", "ls", "/keys/validators"))
		files = slices.DeleteFunc(files, func(name string) bool { return !strings.HasPrefix(name, "0x") })
		require.ElementsMatch(t, one.Keys, files, "%s has other keystores than the cluster says", pod.Name)
		for _, key := range one.Keys {
			require.Empty(t, seen[key], "%s is held by %s and %s", key, seen[key], pod.Name)
			seen[key] = pod.Name
		}
		keys[pod.Name] = one.Keys
	}
	s.signedOnce(t)
	return keys
}

// leader waits until exactly one pod has the leader's label, is not the one that led before, is the
// one that the cluster names, and is all that the leader's Service leads to.
func (s *site) leader(t *testing.T, before string) corev1.Pod {
	t.Helper()
	var leader corev1.Pod
	await(t, 30*time.Second, "the leader has the label and the Service", func(c *assert.CollectT) {
		pods, err := read[corev1.PodList](t.Context(), s, "get", "pods", "-n", system, "-l", "keysteward.io/role=leader")
		require.NoError(c, err)
		require.Len(c, pods.Items, 1)
		leader = pods.Items[0]
		require.NotEqual(c, before, string(leader.UID), "the pod that led before still has the label")
		slices, err := read[discoveryv1.EndpointSliceList](t.Context(), s, "get", "endpointslices", "-n", system,
			"-l", "kubernetes.io/service-name=keysteward-leader")
		require.NoError(c, err)
		var addresses []string
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				addresses = append(addresses, endpoint.Addresses...)
			}
		}
		require.Equal(c, []string{leader.Status.PodIP}, addresses)
		status, err := s.cluster(t.Context())
		require.NoError(c, err)
		require.Equal(c, leader.Name, memberName(status.Leader))
	})
	return leader
}

func (s *site) cluster(ctx context.Context) (wire.Cluster, error) {
	var status wire.Cluster
	out, err := s.tryKeysteward(ctx, "cluster", "status", "--output", "json")
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal([]byte(out), &status)
}

// whole waits until the cluster has that many members, all voting and caught up, and returns their IDs
// by the name of the pod.
func (s *site) whole(t *testing.T, want int) map[string]string {
	t.Helper()
	ids := make(map[string]string)
	await(t, time.Minute, fmt.Sprintf("%d members vote and have caught up", want), func(c *assert.CollectT) {
		status, err := s.cluster(t.Context())
		require.NoError(c, err)
		require.Len(c, status.Nodes, want)
		clear(ids)
		for _, node := range status.Nodes {
			require.True(c, node.Voter, node.ID)
			require.Contains(c, []int64{0, 1, 2, 3}, node.Lag, node.ID)
			ids[memberName(node.ID)] = node.ID
		}
		require.Len(c, ids, want)
	})
	return ids
}

// memberName is the name in a node's ID, which has something of chance at its end.
func memberName(id string) string {
	parts := strings.Split(id, "-")
	if len(parts) < 2 {
		return id
	}
	return strings.Join(parts[:2], "-")
}
