package local

import (
	"context"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	signing "k8s.io/api/certificates/v1"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/kubernetes/clouds"
)

var (
	builtWithPoints sync.Once
	pointsLog       string
)

// binaryWithPoints builds keysteward with failpoints, once, and returns its path.
func binaryWithPoints(t *testing.T) string {
	t.Helper()
	ordinary, _ := binaries(t) // whose folder is removed in the end
	path := filepath.Join(filepath.Dir(ordinary), "failpoints", "keysteward")
	builtWithPoints.Do(func() {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "build", "-tags", "failpoints", "-o", path, ".")
		cmd.Dir = filepath.Join("..", "..")
		if out, err := cmd.CombinedOutput(); err != nil {
			pointsLog = err.Error() + "\n" + string(out)
		}
	})
	require.Empty(t, pointsLog, "the binary with failpoints can not be built")
	return path
}

// crashDays are clouds whose leaders die between two steps.
type crashDays struct {
	*cloudDays

	points failpoint.Folder
}

// TestCloudsSurviveTheirLeaders kills the leader at each step of a cloud's way into its
// Kubernetes clusters, and out of them; the next leader finishes it.
func TestCloudsSurviveTheirLeaders(t *testing.T) {
	t.Parallel()
	binary := binaryWithPoints(t)
	d := &crashDays{points: failpoint.Folder(t.TempDir())}
	d.cloudDays = newCloudDays(t, func(l *launcher) {
		l.binary = binary
		l.nodes.binary = binary
		l.site.env = []string{failpoint.Variable + "=" + string(d.points)}
	})
	d.register()
	for _, point := range clouds.Failpoints() {
		d.crossing(point, string(point), client.Instantiate)
		d.requireUp(string(point))
	}
	for _, point := range clouds.RemovalFailpoints() {
		d.crossing(point, string(clouds.Failpoints()[0]), client.Terminate)
		d.await(string(clouds.Failpoints()[0]), inState(wire.CloudStateTerminated))
	}
	for _, point := range clouds.Failpoints()[1:] {
		d.act(string(point), client.Terminate)
	}
	for _, point := range clouds.Failpoints() {
		d.await(string(point), inState(wire.CloudStateTerminated))
	}
	for i, k := range d.k {
		require.Empty(t, oursIn(t, k), cloudPlaces[i])
	}
	require.NoError(t, d.down())
	requireOneKeyEach(t, d.folder.in(nodeName(0), "data"), len(clouds.Failpoints()))
}

// crossing begins an action of a cloud, which is made if it is to be instantiated. The
// leader is killed when it comes to the point, and started again.
func (d *crashDays) crossing(point failpoint.Name, cloud string, action client.CloudAction) {
	t := d.t
	t.Helper()
	if action == client.Instantiate {
		d.describe(cloud, "crossing", cloudPlaces...)
	}
	require.NoError(t, d.points.Arm(point))
	d.act(cloud, action)
	pid := 0
	require.Eventually(t, func() bool {
		var err error
		pid, err = d.points.Caught(point)
		return err == nil && pid != 0
	}, patience, pollTime/10, "no leader comes to %s", point)
	for i := range d.site.ports.API {
		if p := d.nodes.process(i); p.pid() == pid {
			require.NoError(t, p.signal(syscall.SIGKILL))
			<-p.done
		}
	}
	require.False(t, alive(pid), "%s: no node was caught", point)
	require.NoError(t, d.points.Release(point))
	_, err := d.nodes.restart(t.Context())
	require.NoError(t, err)
}

// requireUp holds once a cloud is in its clusters: its kubeconfigs log in, all requests
// of ours are done with, and were made for one key.
func (d *crashDays) requireUp(cloud string) {
	t := d.t
	t.Helper()
	status := d.await(cloud, inState(wire.CloudStateInstantiated))
	all := d.kubeconfig(cloud, "")
	for i, place := range cloudPlaces {
		d.requireLogsIn(all, cloud, status.CommonName, "--context", "crossing@"+place)
		asked := map[string]bool{}
		for _, r := range requestsIn(t, d.k[i]) {
			require.True(t, isDone(r), "%s in %s was left behind", r.Name, place)
			if r.Annotations["keysteward.io/logical-cloud"] == cloud {
				asked[string(r.Spec.Request)] = true
			}
		}
		require.LessOrEqual(t, len(asked), 1, "keys of %s in %s", cloud, place)
	}
	require.NoError(t, awaitReady(t.Context(), d.nodes))
}

// isDone tells whether nobody has to do anything about a request any more.
func isDone(r signing.CertificateSigningRequest) bool { return len(r.Status.Certificate) > 0 }

// requireOneKeyEach holds if the log of a node never had two keys for one generation.
func requireOneKeyEach(t *testing.T, data string, want int) {
	t.Helper()
	keys := map[uint64]map[string]bool{}
	replay(t, data, func(view *fsm.View) {
		for c := range view.AllClouds() {
			if c.GetKey() != nil {
				if keys[c.GetGeneration()] == nil {
					keys[c.GetGeneration()] = map[string]bool{}
				}
				keys[c.GetGeneration()][string(c.GetKey().GetPublicKey())] = true
			}
		}
	})
	require.Len(t, keys, want, "generations")
	for generation, of := range keys {
		require.Len(t, of, 1, "keys of generation %d", generation)
	}
}
