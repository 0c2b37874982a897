package fsm

import (
	"bytes"
	"slices"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// watched is what the ledger knows of how the end of a holder would be noticed.
type watched struct {
	node, nodeUID, kubernetes string
	lease, leaseWait          uint64 // cluster time at which it runs out, 0 without one
}

// observePods follows what a Kubernetes showed: only proof makes a rest end, and the
// word of another Kubernetes about a machine is none.
func (l *ledger) observePods(c *fsmpb.ObservePods, before *world) {
	fences := map[string]uint64{}
	for name, a := range before.allocations {
		fences[name] = a.GetFence()
	}
	for _, o := range c.GetPods() {
		name := podName(o.GetPod())
		h := l.pods[name]
		if h == nil || h.uid != o.GetPod().GetUid() || h.proven || fences[name] != o.GetFence() {
			continue
		}
		known := *h
		if h.node == "" && o.GetNode() != "" {
			known.node, known.nodeUID, known.kubernetes = o.GetNode(), o.GetNodeUid(), c.GetKubernetesUid()
		}
		switch o.GetKind() { //nolint:exhaustive // the others change nothing more
		case fsmpb.PodObservation_KIND_PROVEN:
			if o.GetProof().GetKind() == fsmpb.Proof_KIND_OUT_OF_SERVICE &&
				(h.node == "" || h.node != o.GetNode() || h.nodeUID == "" || h.nodeUID != o.GetNodeUid() || h.kubernetes != c.GetKubernetesUid()) {
				continue
			}
			known.prove(l.clock, o.GetWaitMs())
		case fsmpb.PodObservation_KIND_GONE:
			if known.state == fsmpb.AllocationState_ALLOCATION_STATE_HELD {
				fences[name] = 0 // it has a new one
			}
			known.state = fsmpb.AllocationState_ALLOCATION_STATE_RESTING
		}
		*h = known
	}
}

func (h *holding) prove(now, wait uint64) {
	h.state, h.proven, h.deadline = fsmpb.AllocationState_ALLOCATION_STATE_RESTING, true, now+min(wait, 1<<50)
}

func (l *ledger) renewLease(t rapid.TB, c *fsmpb.RenewLease, res Result) {
	t.Helper()
	h := l.pods[podName(c.GetPod())]
	require.NotNil(t, h, "a lease of nobody")
	require.Equal(t, c.GetPod().GetUid(), h.uid)
	if h.expired && c.GetFence() == 0 { // the holder does not change
		*h = holding{uid: h.uid, state: fsmpb.AllocationState_ALLOCATION_STATE_HELD, watched: watched{node: h.node, kubernetes: h.kubernetes}}
	}
	require.Equal(t, fsmpb.AllocationState_ALLOCATION_STATE_HELD, h.state, "a lease was renewed while the keys rest")
	h.lease, h.leaseWait = max(h.lease, l.clock+c.GetDurationMs()), c.GetWaitMs()
	require.Equal(t, h.lease, res.Value)
}

// endLeases: a lease that ran out is proof.
func (l *ledger) endLeases() {
	for _, h := range l.pods {
		if h.lease > 0 && !h.proven && l.clock >= h.lease {
			h.expired = h.state == fsmpb.AllocationState_ALLOCATION_STATE_HELD
			h.prove(l.clock, h.leaseWait)
		}
	}
}

// follow lets the next UID of a pod have its keys before the wait after the proof is
// over, if it gets all of them at once and imports their watermarks.
func (l *ledger) follow(t rapid.TB, c *fsmpb.Command, before, after *world) {
	t.Helper()
	for name, h := range l.pods {
		is := after.allocations[name]
		if !h.proven || is == nil || is.GetPod().GetUid() == h.uid {
			continue
		}
		protects := before.requests[name].GetSlashingProtection()
		if p := c.GetAllocate().GetPod(); p != nil && podName(p) == name {
			protects = c.GetAllocate().GetSlashingProtection()
		}
		require.True(t, protects, "%s got keys early and imports no watermarks", name)
		require.Len(t, is.GetKeys(), len(before.allocations[name].GetKeys()), "some of the keys of %s are free too early", name)
		for _, k := range before.allocations[name].GetKeys() {
			require.True(t, slices.ContainsFunc(is.GetKeys(), func(other []byte) bool { return bytes.Equal(k, other) }))
		}
		l.ended[name] = true
		delete(l.pods, name)
	}
}

// drawPods draws what a Kubernetes shows of pods that hold keys, and of others.
func drawPods(t *rapid.T, w *world) proto.Message {
	c := &fsmpb.ObservePods{KubernetesUid: rapid.SampledFrom([]string{"k", "k", "k", "other", ""}).Draw(t, "kubernetes")}
	for range rapid.IntRange(1, 3).Draw(t, "pods") {
		pod := drawPod(t)
		a := w.allocations[podName(pod)]
		if a != nil && !oneIn(t, 4, "any UID") {
			pod = a.GetPod()
		}
		o := &fsmpb.PodObservation{
			Pod: pod, Fence: a.GetFence(), Code: "pod-gone", Detail: "d", Node: rapid.SampledFrom([]string{"", "n", "n", "m"}).Draw(t, "node"),
			Kind:    fsmpb.PodObservation_Kind(rapid.SampledFrom([]int32{1, 1, 2, 3, 3, 0}).Draw(t, "what")),
			WaitMs:  rapid.SampledFrom([]uint64{0, 100, 60_000, 1 << 63}).Draw(t, "wait"),
			NodeUid: rapid.SampledFrom([]string{"nu", "nu", "nv", ""}).Draw(t, "node UID"),
		}
		if o.GetKind() == fsmpb.PodObservation_KIND_PROVEN {
			o.Proof = &fsmpb.Proof{Kind: fsmpb.Proof_Kind(rapid.SampledFrom([]int32{3, 3, 4, 4, 2}).Draw(t, "proof")), By: "n1"}
		}
		if oneIn(t, 6, "otherFence") {
			o.Fence += rapid.SampledFrom([]uint64{1, ^uint64(0)}).Draw(t, "fence")
		}
		c.Pods = append(c.Pods, o)
	}
	return c
}

func drawLease(t *rapid.T, w *world) proto.Message {
	c := &fsmpb.RenewLease{
		Pod:        drawPod(t),
		DurationMs: rapid.SampledFrom([]uint64{1, 100, 60_000, 0, 1 << 63}).Draw(t, "duration"),
		WaitMs:     rapid.SampledFrom([]uint64{0, 100}).Draw(t, "wait"),
	}
	if a := w.allocations[podName(c.GetPod())]; a != nil && !oneIn(t, 4, "any UID") {
		c.Pod = a.GetPod()
		c.Fence = rapid.SampledFrom([]uint64{0, a.GetFence(), a.GetFence(), a.GetFence() + 1}).Draw(t, "fence")
	}
	return c
}
