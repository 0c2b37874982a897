package pods

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"

	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
)

// BenchmarkProof follows 5,000 pods of a real API server, each of which holds a key, ends
// 1,000 of them as fast as that takes it, and measures the time from when the last word of
// a kubelet was taken until the proof is in the state.
func BenchmarkProof(b *testing.B) {
	const pods, ends, hands = 5000, 1000, 16
	cluster := kubetest.Start(b)
	s, k := newState(b, pods), newKube(b, cluster)
	all := make([]*core.Pod, pods)
	inParallel(hands, pods, func(i int) { all[i] = k.run("bench", fmt.Sprintf("validator-%d", i)) })
	for _, pod := range all {
		s.allocate(pod, 1)
	}
	before := live()
	w := s.watch(cluster.Admin)
	_, _ = s.lead(w)
	awaitSynced(b, w)
	eventually(b, func() bool { return s.allocation(all[pods-1]).GetNode() != "" }, "all should be seen")
	kept := float64(live()-before) / pods // with connections and all
	for b.Loop() {
		took := make([]time.Duration, ends)
		began := time.Now()
		inParallel(hands, ends, func(i int) {
			pod := all[i]
			k.remove(pod, 30)
			k.report(stopped(k.get(pod)))
			told := time.Now()
			for s.allocation(pod).GetProof() == nil {
				if time.Since(told) > patience {
					b.Error("no proof")
					return
				}
				runtime.Gosched()
				<-time.After(time.Millisecond)
			}
			took[i] = time.Since(told)
		})
		slices.Sort(took)
		b.ReportMetric(kept, "B/pod")
		b.ReportMetric(float64(ends)/time.Since(began).Seconds(), "ends/s")
		b.ReportMetric(float64(took[ends/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[ends*99/100].Microseconds())/1000, "p99-ms")
	}
	require.NoError(b, s.View().Check())
}

func inParallel(hands, n int, do func(int)) {
	var workers sync.WaitGroup
	next := make(chan int)
	for range hands {
		workers.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}
