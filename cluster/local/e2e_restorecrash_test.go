package local

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/backup/restoring"
	"github.com/keysteward/keysteward/node/failpoint"
)

// restoreDays are restores whose leaders die.
type restoreDays struct {
	*launcher

	t      *testing.T
	points failpoint.Folder
	client *client.Client
	file   string // a backup of a state with the project shop, and without the project later
	number int64  // of the last restore
}

const laterProject = "later"

// TestRestoreSurvivesItsLeaders catches leaders between the parts of a backup that they
// restore, and before and after the command that makes it the state. Either all members
// have it or none, whatever becomes of the leader; what was only staged is forgotten; and
// it can be restored again.
func TestRestoreSurvivesItsLeaders(t *testing.T) {
	t.Parallel()
	d := &restoreDays{t: t, points: failpoint.Folder(t.TempDir()), file: filepath.Join(t.TempDir(), "state.ksbackup")}
	d.launcher = newTormented(t, 3, d.points)
	require.NoError(t, d.startNodes(t.Context()))
	d.fill()

	for _, point := range []failpoint.Name{restoring.PointPartStaged, restoring.PointAllStaged} {
		told, node := d.catch(point)
		d.killed(t, d.points, point, node)
		require.ErrorContains(t, <-told, client.ErrOutcomeUnknown.Error(), point)
		d.requireAll(false)
	}

	told, node := d.catch(restoring.PointFinished)
	d.killed(t, d.points, restoring.PointFinished, node)
	require.ErrorContains(t, <-told, client.ErrOutcomeUnknown.Error())
	d.number++
	d.requireAll(true)

	// Who sleeps until another one leads restores nothing; its client asks that one.
	d.create(laterProject)
	told, node = d.catch(restoring.PointAllStaged)
	d.asleep(t, d.points, restoring.PointAllStaged, node)
	require.NoError(t, <-told)
	d.number++
	d.requireAll(true)

	d.create(laterProject)
	require.NoError(t, <-d.restore())
	d.number++
	d.requireAll(true)
	require.NoError(t, d.down())
	d.requireHistories(3) // two dead leaders', and one's that slept
}

// fill makes a state of several parts and takes a backup of it.
func (d *restoreDays) fill() {
	t := d.t
	t.Helper()
	var err error
	d.client, err = client.New(client.Config{Servers: d.site.apiURLs(), TokenFile: d.site.tokens.Admin, RetryFor: patience})
	require.NoError(t, err)
	t.Cleanup(d.client.Close)
	d.create(cloudProject)
	_, err = d.client.LogicalClouds(cloudProject).Create(t.Context(), wire.LogicalCloud{
		Metadata: named("large"), Spec: wire.LogicalCloudSpec{Namespace: "large", User: wire.CloudUser{UserName: "u"}},
	})
	require.NoError(t, err)
	pair, err := json.Marshal(map[string]string{"pad": strings.Repeat("x", fsm.MaxStagePart)})
	require.NoError(t, err)
	for _, name := range []string{"a", "b", "c"} {
		_, err = d.client.KeyValues(cloudProject, "large").Create(t.Context(), wire.KeyValues{
			Metadata: named(name), Spec: wire.KeyValuesSpec{Kv: []json.RawMessage{pair}},
		})
		require.NoError(t, err)
	}
	out, err := d.keysteward(t, "backup", "--output", d.file)
	require.NoError(t, err, out)
	d.create(laterProject)
	out, err = d.keysteward(t, "restore", d.file, "--yes")
	require.Error(t, err)
	require.Contains(t, out, "--force-older")
}

func (d *restoreDays) create(project string) {
	d.t.Helper()
	_, err := d.client.Projects().Create(d.t.Context(), wire.Project{Metadata: named(project)})
	require.NoError(d.t, err)
}

// restore begins to restore the backup, and tells what came of it.
func (d *restoreDays) restore() (told <-chan error) {
	came := make(chan error, 1)
	go func() { // ends with the processes that it asks
		out, err := d.keysteward(d.t, "restore", d.file, "--force-older", "--yes")
		if err != nil {
			err = errors.New(out)
		}
		came <- err
	}()
	return came
}

// catch begins to restore the backup, until a node is held at the point.
func (d *restoreDays) catch(point failpoint.Name) (told <-chan error, node int) {
	d.t.Helper()
	require.NoError(d.t, awaitReady(d.t.Context(), d.nodes))
	require.NoError(d.t, d.points.Arm(point))
	told = d.restore()
	return told, d.caughtAt(d.t, d.points, point)
}

// requireAll holds once every node says that so many backups were restored, and has the
// state of the backup, or the one that came after it.
func (d *restoreDays) requireAll(ofBackup bool) {
	d.t.Helper()
	require.NoError(d.t, awaitReady(d.t.Context(), d.nodes))
	for i := range d.site.ports.API {
		var answer []byte
		require.Eventually(d.t, func() bool {
			var r wire.Restore
			answer, _ = d.look(i, "/v1/restore?consistency=stale")
			return json.Unmarshal(answer, &r) == nil && r.Number == d.number
		}, patience, pollTime, "%s: not %d restores: %s", nodeName(i), d.number, late(&answer))
		projects, _ := d.look(i, "/v2/projects?consistency=stale")
		require.Contains(d.t, string(projects), `"`+cloudProject+`"`, nodeName(i))
		require.Equal(d.t, !ofBackup, strings.Contains(string(projects), `"`+laterProject+`"`), "%s: %s", nodeName(i), projects)
	}
}

// requireHistories replays the logs: all nodes have the same state; what was staged by a
// leader that did not finish was forgotten so many times; and no restore did it by halves.
func (d *restoreDays) requireHistories(forgotten int) {
	t := d.t
	t.Helper()
	hashes := map[[sha256.Size]byte]bool{}
	for i := range d.site.ports.API {
		view, number, dropped := fsm.New().View(), uint64(0), 0
		replay(t, d.site.dataDir(i), func(now *fsm.View) {
			n := now.Meta().GetRestore().GetNumber()
			if n == number && view.Meta().GetStaging() != nil && now.Meta().GetStaging() == nil {
				dropped++
			}
			if n != number {
				require.Equal(t, number+1, n)
				require.NoError(t, now.Check())
				require.Nil(t, now.Project(laterProject), "restore %d", n)
				require.Nil(t, now.Meta().GetStaging())
				number = n
			}
			view = now
		})
		require.Equal(t, d.number, int64(number))
		require.GreaterOrEqual(t, dropped, forgotten, "a client repeats what another change of leader took")
		require.Nil(t, view.Meta().GetStaging())
		require.NoError(t, view.Check())
		hashes[view.Hash()] = true
	}
	require.Len(t, hashes, 1)
}
