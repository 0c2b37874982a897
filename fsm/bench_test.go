package fsm

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// BenchmarkAllocateRelease hands one key of a stocked pool out and takes it back
// with proof: two log entries.
func BenchmarkAllocateRelease(b *testing.B) {
	r := newReplica(b)
	r.stock(1000)
	for b.Loop() {
		answer, ok := r.do(&fsmpb.Allocate{Pod: testPod("a", "1"), Keys: 1}).Value.(Allocated)
		require.True(b, ok)
		require.NoError(b, r.do(&fsmpb.Release{
			Namespace: "ns", Pod: "a", Fence: answer.Allocation.GetFence(), Proof: proof(),
		}).Err())
	}
}

// BenchmarkAllocate64 hands 64 keys out and takes them back.
func BenchmarkAllocate64(b *testing.B) {
	r := newReplica(b)
	r.stock(1000)
	for b.Loop() {
		answer, ok := r.do(&fsmpb.Allocate{Pod: testPod("a", "1"), Keys: 64}).Value.(Allocated)
		require.True(b, ok)
		require.NoError(b, r.do(&fsmpb.Release{
			Namespace: "ns", Pod: "a", Fence: answer.Allocation.GetFence(), Proof: proof(),
		}).Err())
	}
}

// large has 100,000 generated keys.
func large(b *testing.B) *replica {
	b.Helper()
	r := newReplica(b)
	for from := uint64(0); from < 100_000; from += 10_000 {
		require.NoError(b, r.do(&fsmpb.GenerateKeys{FirstIndex: from, Pubkeys: pubkeys(from, 10_000)}).Err())
	}
	return r
}

// BenchmarkSnapshot writes a state of 100,000 keys.
func BenchmarkSnapshot(b *testing.B) {
	r := large(b)
	for b.Loop() {
		_, err := r.View().WriteTo(io.Discard)
		require.NoError(b, err)
	}
}

// BenchmarkRestore reads a state of 100,000 keys.
func BenchmarkRestore(b *testing.B) {
	snap := snapshot(b, large(b).View())
	for b.Loop() {
		require.NoError(b, New().Restore(bytes.NewReader(snap)))
	}
}

// BenchmarkCheck looks for faults in a state of 100,000 keys.
func BenchmarkCheck(b *testing.B) {
	v := large(b).View()
	for b.Loop() {
		require.NoError(b, v.Check())
	}
}
