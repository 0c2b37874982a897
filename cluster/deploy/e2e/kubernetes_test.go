//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

const (
	system     = "keysteward" // namespace of the chart, and its release
	validators = "validators" // namespace and StatefulSet of those that get keys

	commandTime = 2 * time.Minute
	tick        = 200 * time.Millisecond
)

// site is where the tests run: nodes that run, and the programs to deal with them.
type site struct {
	life *testing.T // the whole test, of which each step is a part
	root string     // of the repository
	dir  string     // of the nodes
	host string     // the address of this machine, as pods see it
}

func openSite(t *testing.T) *site {
	t.Helper()
	dir := os.Getenv("KEYSTEWARD_E2E_NODE")
	require.NotEmpty(t, dir, "no nodes: run `make e2e`")
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	s := &site{life: t, root: root, dir: dir}
	number, err := os.ReadFile(filepath.Join(dir, "node", "number"))
	require.NoError(t, err, "no nodes run from %s", dir)
	s.host = "10.89." + strings.TrimSpace(string(number)) + ".1"
	return s
}

// try runs a program of the repository and returns what it wrote.
func (s *site) try(ctx context.Context, input, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.root, program), args...)
	cmd.Dir = s.root
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(s.dir, "kubeconfig"))
	cmd.Stdin = strings.NewReader(input)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, complaint.String())
	}
	return out.String(), nil
}

func (s *site) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := s.try(t.Context(), "", program, args...)
	require.NoError(t, err)
	return out
}

func (s *site) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return s.run(t, "bin/tools/kubectl", args...)
}

// node runs a command within a node.
func (s *site) node(t *testing.T, node string, command ...string) string {
	t.Helper()
	number := strings.TrimPrefix(node, "node-")
	return s.run(t, "scripts/node", append([]string{"enter", s.dir, number}, command...)...)
}

// read decodes what kubectl shows as JSON.
func read[T any](ctx context.Context, s *site, args ...string) (T, error) {
	var object T
	out, err := s.try(ctx, "", "bin/tools/kubectl", append(args, "-o", "json")...)
	if err != nil {
		return object, err
	}
	if err := json.Unmarshal([]byte(out), &object); err != nil {
		return object, fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return object, nil
}

// pod returns one that is there.
func (s *site) pod(t *testing.T, namespace, name string) corev1.Pod {
	t.Helper()
	pod, err := read[corev1.Pod](t.Context(), s, "get", "pod", name, "-n", namespace)
	require.NoError(t, err)
	return pod
}

// await waits for a condition and tells, if it does not come, what was last against it.
func await(t *testing.T, limit time.Duration, what string, condition func(c *assert.CollectT)) time.Duration {
	t.Helper()
	began := time.Now()
	require.EventuallyWithT(t, condition, limit, tick, what)
	took := time.Since(began).Round(10 * time.Millisecond)
	t.Logf("%s: after %v", what, took)
	return took
}

// awaitReady waits until a pod of that name, but not the one with the UID before, is ready.
func (s *site) awaitReady(t *testing.T, namespace, name, before string) corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	await(t, commandTime, name+" is ready", func(c *assert.CollectT) {
		var err error
		pod, err = read[corev1.Pod](t.Context(), s, "get", "pod", name, "-n", namespace)
		require.NoError(c, err)
		require.NotEqual(c, before, string(pod.UID), "the old pod is still there")
		require.True(c, ready(pod), "phase %s, %+v", pod.Status.Phase, pod.Status.InitContainerStatuses)
	})
	return pod
}

func ready(pod corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// awaitAll waits until all pods of a StatefulSet are ready.
func (s *site) awaitAll(t *testing.T, namespace, set string) {
	t.Helper()
	began := time.Now()
	s.kubectl(t, "rollout", "status", "statefulset/"+set, "-n", namespace, "--timeout=110s")
	t.Logf("all of %s are ready: after %v", set, time.Since(began).Round(10*time.Millisecond))
}

// kill ends the process of a pod's container by SIGKILL, behind the back of Kubernetes.
func (s *site) kill(t *testing.T, pod corev1.Pod, container string) {
	t.Helper()
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == container {
			id := strings.TrimPrefix(status.ContainerID, "containerd://")
			s.node(t, pod.Spec.NodeName, "ctr", "-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id)
			return
		}
	}
	require.Fail(t, "no such container", "%s in %s", container, pod.Name)
}
