//go:build e2e

package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// mostSilence is how long no allocation may be acknowledged during a rolling restart: after
// that something hangs. How long it takes on a machine that does nothing else is measured
// by `make bench`.
const mostSilence = 30 * time.Second

// rollingRestart restarts all members while a pod asks for its keys over and over: nothing that the client
// repeats may fail.
func rollingRestart(t *testing.T, s *site) {
	t.Helper()
	before := s.agree(t)
	s.kubectl(t, "delete", "pod", "load", "-n", validators, "--ignore-not-found")
	s.kubectl(t, "apply", "-f", "cluster/deploy/e2e/testdata/load.yaml")
	s.awaitReady(t, validators, "load", "")

	s.kubectl(t, "rollout", "restart", "statefulset/keysteward", "-n", system)
	s.awaitAll(t, system, "keysteward")
	s.whole(t, 3)
	s.leader(t, "")

	await(t, 10*time.Second, "the load goes on", func(c *assert.CollectT) {
		out, err := s.try(t.Context(), "", "bin/tools/kubectl", "logs", "load", "-n", validators, "--tail=1", "--since=2s")
		require.NoError(c, err)
		require.Contains(c, out, "done")
	})
	load := s.pod(t, validators, "load")
	require.Equal(t, corev1.PodRunning, load.Status.Phase)
	count, longest := s.pauses(t)
	t.Logf("%d allocations, none failed; the longest pause between two was %v", count, longest)
	require.Less(t, longest, mostSilence)
	s.kubectl(t, "delete", "pod", "load", "-n", validators)
	require.Equal(t, before, s.agree(t))
}

// pauses reads how many allocations were acknowledged, and the longest time between two.
func (s *site) pauses(t *testing.T) (count int, longest time.Duration) {
	t.Helper()
	var last float64
	for line := range strings.Lines(s.kubectl(t, "logs", "load", "-n", validators)) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		require.NotEqual(t, "failed", fields[0], "an allocation failed that the client repeats")
		if fields[0] != "done" {
			continue
		}
		at, err := strconv.ParseFloat(fields[1], 64)
		require.NoError(t, err)
		if count++; last > 0 {
			longest = max(longest, time.Duration((at-last)*float64(time.Second)))
		}
		last = at
	}
	return count, longest
}
