package local

import (
	"testing"

	"github.com/stretchr/testify/require"
	signing "k8s.io/api/certificates/v1"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/kubernetes/clouds"
)

// crashDays are clouds whose leaders die between two steps.
type crashDays struct {
	*cloudDays

	points failpoint.Folder
}

// TestCloudsSurviveTheirLeaders catches the leader at each step of a cloud's way into its
// Kubernetes clusters, and out of them. First it is killed there; when the cloud gets
// another key, it sleeps until another one leads, and goes on at that instruction.
func TestCloudsSurviveTheirLeaders(t *testing.T) {
	t.Parallel()
	binary := binaryWithPoints(t)
	d := &crashDays{points: failpoint.Folder(t.TempDir())}
	d.cloudDays = newCloudDays(t, func(l *launcher) {
		l.binary, l.nodes.binary = binary, binary
		l.site.env = []string{failpoint.Variable + "=" + string(d.points)}
	})
	d.register()
	for _, point := range clouds.Failpoints() {
		cloud := string(point)
		d.describe(cloud, "crossing", cloudPlaces...)
		d.killed(t, d.points, point, d.catch(point, cloud, client.Instantiate))
		d.requireUp(cloud)
		d.asleep(t, d.points, point, d.catch(point, cloud, client.RotateKey))
		d.requireUp(cloud)
	}
	for i, cloud := range clouds.Failpoints() {
		if points := clouds.RemovalFailpoints(); i < len(points) {
			d.killed(t, d.points, points[i], d.catch(points[i], string(cloud), client.Terminate))
		} else {
			d.act(string(cloud), client.Terminate)
		}
	}
	for _, cloud := range clouds.Failpoints() {
		d.await(string(cloud), inState(wire.CloudStateTerminated))
	}
	for i, k := range d.k {
		require.Empty(t, oursIn(t, k), cloudPlaces[i])
	}
	require.NoError(t, d.down())
	requireOneKeyEach(t, d.folder.in(nodeName(0), "data"), 2*len(clouds.Failpoints()))
}

// catch begins an action, and returns the index of the node that is held at the point.
func (d *crashDays) catch(point failpoint.Name, cloud string, action client.CloudAction) (node int) {
	t := d.t
	t.Helper()
	require.NoError(t, d.points.Arm(point))
	d.act(cloud, action)
	return d.caughtAt(t, d.points, point)
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
		asked := map[string]string{} // by generation
		for _, r := range requestsIn(t, d.k[i]) {
			require.True(t, isDone(r), "%s in %s was left behind", r.Name, place)
			if generation := r.Labels["keysteward.io/generation"]; asked[generation] == "" {
				asked[generation] = string(r.Spec.Request)
			} else {
				require.Equal(t, asked[generation], string(r.Spec.Request), "a second key in %s", place)
			}
		}
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
