//go:build manyclouds

package local

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

const (
	manyClouds  = 1000
	manyTime    = 20 * time.Minute
	manyAtOnce  = 16
	manyLookAt  = 50 // one in so many is tried with kubectl
	manyPolling = time.Second
)

// TestThousandClouds brings 1,000 clouds into two Kubernetes clusters at once, and out of
// them again. It takes minutes, so it is for those who ask for it:
//
//	go test -tags manyclouds -timeout 1h -run TestThousandClouds -v ./cluster/local
func TestThousandClouds(t *testing.T) {
	t.Parallel()
	d := newCloudDays(t)
	d.register()
	d.forMany(t, "described", func(cloud string) error { d.describe(cloud, "many", cloudPlaces...); return nil })
	d.tellMemory(t)

	began := time.Now()
	d.forMany(t, "instantiate accepted", d.acts(client.Instantiate))
	d.awaitMany(t, wire.CloudStateInstantiated, began)
	d.tellMemory(t)
	for i := 0; i < manyClouds; i += manyLookAt {
		all := d.kubeconfig(manyName(i), "")
		user := d.status(manyName(i)).CommonName
		for _, place := range cloudPlaces {
			d.requireLogsIn(all, manyName(i), user, "--context", "many@"+place)
		}
	}
	for i, place := range cloudPlaces {
		for _, r := range requestsIn(t, d.k[i]) {
			require.True(t, isDone(r), "%s in %s was left behind", r.Name, place)
		}
	}

	began = time.Now()
	d.forMany(t, "terminate accepted", d.acts(client.Terminate))
	d.awaitMany(t, wire.CloudStateTerminated, began)
	d.tellMemory(t)
	for i, k := range d.k {
		require.Empty(t, oursIn(t, k), cloudPlaces[i])
	}
}

func manyName(i int) string { return fmt.Sprintf("many-%04d", i) }

// tellMemory tells who leads, which may have changed on a busy machine.
func (d *cloudDays) tellMemory(t *testing.T) {
	t.Helper()
	leader := d.leaderNow()
	t.Logf("%s leads, with %d MiB", nodeName(leader), resident(t, d.nodes.process(leader).pid())>>10)
}

func (d *cloudDays) acts(action client.CloudAction) func(cloud string) error {
	return func(cloud string) error {
		_, err := d.client.Act(d.t.Context(), cloudProject, cloud, action)
		return err
	}
}

// forMany does something for all clouds, some at once.
func (d *cloudDays) forMany(t *testing.T, what string, do func(cloud string) error) {
	t.Helper()
	began, next := time.Now(), make(chan int)
	var running sync.WaitGroup
	for range manyAtOnce {
		running.Go(func() {
			for i := range next {
				if err := do(manyName(i)); err != nil {
					t.Errorf("%s: %v", manyName(i), err)
				}
			}
		})
	}
	for i := range manyClouds {
		next <- i
	}
	close(next)
	running.Wait()
	require.False(t, t.Failed())
	t.Logf("%s: %d in %v", what, manyClouds, time.Since(began).Round(time.Millisecond))
}

// awaitMany waits until all are in a state, and tells how far they are every now and then.
func (d *cloudDays) awaitMany(t *testing.T, state wire.CloudState, began time.Time) {
	t.Helper()
	told := time.Now()
	require.Eventually(t, func() bool {
		list, err := d.client.LogicalClouds(cloudProject).List(t.Context())
		if err != nil {
			return false
		}
		done := 0
		for _, cloud := range list {
			if cloud.Status.State == state {
				done++
			}
		}
		if time.Since(told) > 10*time.Second || done == manyClouds {
			told = time.Now()
			t.Logf("%s: %d after %v", state, done, time.Since(began).Round(time.Millisecond))
		}
		return done == manyClouds
	}, manyTime, manyPolling)
}
