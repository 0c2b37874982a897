package local

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

// TestCloudsOutliveTheirClusters stops a Kubernetes API server, and all nodes besides:
// what was issued is served, what is elsewhere goes on, the rest says why it waits and
// is finished when the server is back.
func TestCloudsOutliveTheirClusters(t *testing.T) {
	t.Parallel()
	d := newCloudDays(t)
	d.register()
	for _, cloud := range []string{"old", "leaving"} {
		d.describe(cloud, "olga", cloudPlaces...)
		d.act(cloud, client.Instantiate)
	}
	for _, cloud := range []string{"old", "leaving"} {
		d.await(cloud, inState(wire.CloudStateInstantiated))
	}
	stored, left := d.kubeconfig("old", "eu"), d.kubeconfig("leaving", "us")

	d.k[0].Stop()
	d.requireServed(stored)
	d.describe("new", "nina", cloudPlaces...)
	d.act("new", client.Instantiate)
	d.describe("elsewhere", "elsa", "us")
	d.act("elsewhere", client.Instantiate)
	d.act("leaving", client.Terminate)
	d.requireWaitsForTheCluster()
	d.requireForbidden(left, "get", "pods", "-n", "leaving")

	d.killAll()
	d.requireServed(stored)
	d.requireWaitsForTheCluster()

	d.k[0].Restart()
	d.k[0].StopSigner() // else its controllers take half a minute to notice
	d.k[0].StartSigner()
	d.await("leaving", inState(wire.CloudStateTerminated))
	status := d.await("new", inState(wire.CloudStateInstantiated))
	for _, place := range cloudPlaces {
		d.requireLogsIn(d.kubeconfig("new", ""), "new", status.CommonName, "--context", "nina@"+place)
	}
	d.requireLogsIn(stored, "old", d.status("old").CommonName)
	for i, k := range d.k {
		require.NotContains(t, strings.Join(oursIn(t, k), "\n"), "leaving", cloudPlaces[i])
		require.Len(t, requestsIn(t, k), 2+i)
	}
}

// requireServed holds if the kubeconfig of the cloud old for eu is what it was, at once.
func (d *cloudDays) requireServed(stored string) {
	d.t.Helper()
	began := time.Now()
	status, _, answer := d.get("/v2/projects/shop/logical-clouds/old/cluster-references/eu/kubeconfig")
	require.Equal(d.t, http.StatusOK, status, answer)
	require.Equal(d.t, readText(d.t, stored), strings.TrimSpace(answer))
	d.t.Logf("served in %v", time.Since(began))
}

// requireWaitsForTheCluster: clouds in the cluster that is away say so, and those in the
// other one are ready.
func (d *cloudDays) requireWaitsForTheCluster() {
	d.t.Helper()
	const path = "/v2/projects/shop/logical-clouds/new/cluster-references/"
	d.await("elsewhere", inState(wire.CloudStateInstantiated))
	d.await("new", waitsFor("eu", "cluster-unreachable"))
	status := d.await("new", func(s wire.LogicalCloudStatus) bool { return clusterOf(s, "us").Ready })
	require.Equal(d.t, wire.CloudStateInstantiating, status.State)
	require.NotEmpty(d.t, clusterOf(status, "eu").Reason.Message)
	code, header, answer := d.get(path + "eu/kubeconfig")
	require.Equal(d.t, http.StatusAccepted, code, answer)
	require.Contains(d.t, answer, "cluster-unreachable")
	require.NotEmpty(d.t, header.Get("Retry-After"))
	code, _, answer = d.get(path + "us/kubeconfig")
	require.Equal(d.t, http.StatusOK, code, answer)
	code, _, answer = d.get("/v2/projects/shop/logical-clouds/new/kubeconfig")
	require.Equal(d.t, http.StatusAccepted, code, answer)
	d.await("leaving", waitsFor("eu", "cluster-unreachable"))
	d.await("leaving", func(s wire.LogicalCloudStatus) bool { return clusterOf(s, "us").Step == wire.CloudStepRemoved })
}

// killAll kills all nodes at once, and starts them again.
func (d *cloudDays) killAll() {
	d.t.Helper()
	for i := range d.site.ports.API {
		require.NoError(d.t, d.nodes.process(i).signal(syscall.SIGKILL))
	}
	for i := range d.site.ports.API {
		<-d.nodes.process(i).done
	}
	_, err := d.nodes.restart(d.t.Context())
	require.NoError(d.t, err)
	require.NoError(d.t, awaitReady(d.t.Context(), d.nodes))
}
