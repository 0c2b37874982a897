package testimony

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
)

// realPod is a pod as a real Kubernetes showed it.
func realPod(t *testing.T, name string) *core.Pod {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	require.NoError(t, err)
	pod := &core.Pod{}
	require.NoError(t, json.Unmarshal(text, pod))
	return pod
}

// TestReal judges pods as a real Kubernetes showed them; testdata/README.md says what
// happened to each.
func TestReal(t *testing.T) {
	t.Parallel()
	present := func(code string, kind Kind) [2]any { return [2]any{kind, code} }
	want := map[string][2]any{
		"running":                         present("", Nothing),
		"running-being-deleted":           present("", Ending),
		"unreachable-being-deleted":       present(CodeNodeUnreachable, Ending),
		"collected-out-of-service-failed": present(CodeContainerUnknown, Rests),

		// the last object of each
		"deleted":                   present("", Terminated),
		"deleted-exit-code":         present("", Terminated),
		"deleted-killed":            present("", Terminated),
		"deleted-restarted":         present("", Terminated),
		"deleted-crash-looping":     present("", Terminated),
		"deleted-ephemeral":         present("", Terminated),
		"deleted-init-failed":       present("", Terminated),
		"deleted-in-init":           present("", Terminated),
		"deleted-image-missing":     present("", Terminated),
		"deleted-volume-missing":    present("", Terminated),
		"deleted-unscheduled":       present("", Terminated),
		"deleted-completed":         present("", Terminated),
		"deleted-failed":            present("", Terminated),
		"evicted":                   present("", Terminated),
		"unreachable-came-back":     present("", Terminated),
		"deleted-container-removed": present("", Terminated), // the kubelet had seen that it was killed
		"force-deleted":             present(CodeForceDeleted, Rests),
		"unreachable-force-deleted": present(CodeForceDeleted, Rests),
		"collected-out-of-service":  present(CodeContainerUnknown, Rests),
		"collected-node-deleted":    present(CodeCollected, Rests),
	}
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.Len(t, files, len(want), "each file has its verdict")
	for name, w := range want {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := realPod(t, name)
			e := Evidence{Presence: Deleted, Last: Read(pod), Machine: Machine{Name: pod.Spec.NodeName, UID: machineUID, Known: true}, NodeUID: machineUID}
			if strings.HasPrefix(name, "running") || strings.HasSuffix(name, "-being-deleted") || strings.HasSuffix(name, "-failed") && w[0] == Rests {
				e.Presence = Present
			}
			if strings.HasPrefix(name, "running") {
				e.Machine.Ready = true
			}
			v := Judge(string(pod.UID), e)
			is := [2]any{v.Kind, v.Code}
			require.Equal(t, w, is, "%+v\n%+v", v, e.Last)

			// One that was being removed, on a machine that an operator says is off.
			e.Machine.OutOfService = true
			v = Judge(string(pod.UID), e)
			require.Equal(t, w[0] == Terminated || !e.Machine.Ready && pod.DeletionTimestamp != nil, v.Kind.IsProof(), "%+v", v)
		})
	}
}

// TestRealWithoutDeletion takes the deletion away from real pods that ended.
func TestRealWithoutDeletion(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"deleted", "deleted-image-missing", "deleted-completed", "evicted", "deleted-unscheduled"} {
		pod := realPod(t, name)
		pod.DeletionTimestamp = nil
		for _, presence := range []Presence{Present, Deleted, Gone, Replaced} {
			require.False(t, Judge(string(pod.UID), Evidence{Presence: presence, Last: Read(pod)}).Kind.IsProof(), name)
		}
	}
}

// TestRealOld makes the statuses of real pods old: somebody else set the phase.
func TestRealOld(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"deleted-init-failed", "deleted-in-init"} {
		pod := realPod(t, name)
		for i := range pod.Status.Conditions {
			pod.Status.Conditions[i].ObservedGeneration = pod.Generation - 1
		}
		v := Judge(string(pod.UID), Evidence{Presence: Deleted, Last: Read(pod)})
		require.Equal(t, CodeContainerUnknown, v.Code, name)
	}
}
