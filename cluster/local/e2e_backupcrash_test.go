package local

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/backup"
	"github.com/keysteward/keysteward/node/backup/schedule"
	"github.com/keysteward/keysteward/node/failpoint"
)

// backupDays are scheduled backups whose leaders die.
type backupDays struct {
	*launcher

	t      *testing.T
	points failpoint.Folder
	folder string // where backups go, two of which are kept
}

// TestScheduledBackupsSurviveTheirLeaders catches leaders that have written a backup,
// before and after they read it back, and kills them there. Nothing that was there before
// is lost by it, and the next backup leaves as many as are to be kept.
func TestScheduledBackupsSurviveTheirLeaders(t *testing.T) {
	t.Parallel()
	d := &backupDays{t: t, points: failpoint.Folder(t.TempDir()), folder: t.TempDir()}
	d.launcher = newTormented(t, 3, d.points, "--backup-every", "1h", "--backup-to", d.folder, "--backup-keep", "2")
	require.NoError(t, d.startNodes(t.Context()))
	first := d.await(1)[0]
	for hours := range 3 { // more than are kept: whoever removes too early is seen
		d.older(first, time.Duration(hours+2)*time.Hour, os.Link)
	}
	require.NoError(t, os.Remove(filepath.Join(d.folder, first)))
	for _, point := range []failpoint.Name{schedule.PointWritten, schedule.PointProven} {
		before := d.sound()
		require.NoError(t, d.points.Arm(point))
		d.anotherLeader()
		d.killed(t, d.points, point, d.caughtAt(t, d.points, point))
		require.NoError(t, awaitReady(t.Context(), d.nodes))
		after := d.sound()
		require.Subset(t, after, before, "%s: nothing is lost", point)
		require.Len(t, after, len(before)+1, point)
		d.timePasses()
		last := slices.Max(d.sound())
		d.anotherLeader()
		require.Contains(t, d.await(2), last, "%s: what the dead leader made is kept", point)
		d.timePasses()
	}
}

// anotherLeader looks at the backups: its leadership is new.
func (d *backupDays) anotherLeader() {
	d.t.Helper()
	require.NoError(d.t, awaitReady(d.t.Context(), d.nodes))
	out, err := d.keysteward(d.t, "cluster", "transfer")
	require.NoError(d.t, err, out)
}

// sound are the backups that are there, the oldest first; all of them are whole.
func (d *backupDays) sound() (names []string) {
	d.t.Helper()
	entries, err := os.ReadDir(d.folder)
	require.NoError(d.t, err)
	for _, e := range entries {
		_, _, ok := backup.ParseName(e.Name())
		require.True(d.t, ok, e.Name())
		file, err := os.Open(filepath.Join(d.folder, e.Name()))
		require.NoError(d.t, err)
		_, _, err = backup.Verify(file, nil)
		require.NoError(d.t, err, e.Name())
		require.NoError(d.t, file.Close())
		names = append(names, e.Name())
	}
	slices.Sort(names) // of one cluster, by their times
	return names
}

// await waits until so many backups are there, and returns them.
func (d *backupDays) await(count int) (names []string) {
	d.t.Helper()
	require.Eventually(d.t, func() bool {
		list, err := filepath.Glob(filepath.Join(d.folder, "keysteward-*"))
		return err == nil && len(list) == count
	}, patience, pollTime, "there are not %d backups", count)
	return d.sound()
}

// timePasses makes all backups older, so that one is due.
func (d *backupDays) timePasses() {
	d.t.Helper()
	for _, name := range d.sound() {
		d.older(name, 2*time.Hour, os.Rename)
	}
}

// older gives a backup the name that it would have if it were older.
func (d *backupDays) older(name string, by time.Duration, give func(old, now string) error) {
	d.t.Helper()
	const form = "20060102T150405Z"
	_, made, ok := backup.ParseName(name)
	require.True(d.t, ok, name)
	older := strings.Replace(name, made.Format(form), made.Add(-by).Format(form), 1)
	require.NoError(d.t, give(filepath.Join(d.folder, name), filepath.Join(d.folder, older)))
}
