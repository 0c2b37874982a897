package keystore

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// scenario is a run that is interrupted at every single step.
type scenario struct {
	name    string
	prepare func(t *testing.T, dir string, layout Layout, keys []Key)
}

var scenarios = []scenario{
	{"into nothing", func(t *testing.T, _ string, _ Layout, _ []Key) { t.Helper() }},
	{"into a mounted folder", func(t *testing.T, dir string, _ Layout, _ []Key) {
		t.Helper()
		put(t, filepath.Join(dir, PodUIDFile), "uid")
	}},
	{"adding a key", func(t *testing.T, dir string, layout Layout, keys []Key) {
		t.Helper()
		mustWrite(t, dir, layout, keys[:1])
	}},
	{"mending a key", func(t *testing.T, dir string, layout Layout, keys []Key) {
		t.Helper()
		mustWrite(t, dir, layout, keys)
		name := prysmAccounts
		if layout != Prysm {
			name = schemes[layout].keystorePath(keys[1].Secret.PublicKey())
		}
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
	}},
	{"after another crash", func(t *testing.T, dir string, layout Layout, keys []Key) {
		t.Helper()
		options, count := cheapOptions(), &failingDisk{}
		options.disk = count
		_, err := Write(t.Context(), filepath.Join(t.TempDir(), "count"), layout, keys, options)
		require.NoError(t, err)
		// The last steps are: manifest, sync, and the hidden folders' removal.
		options.disk = &failingDisk{failAt: count.steps - 4, killed: true}
		_, _ = Write(t.Context(), dir, layout, keys, options)
	}},
}

// Every step of every scenario fails once as on a full disk, and once as if the
// process were killed there. Nothing half may be visible, and a run on a good disk
// must finish the work.
func TestEveryStepFails(t *testing.T) {
	t.Parallel()
	// Lighthouse and Lodestar differ from Nimbus in names alone.
	for _, layout := range []Layout{Nimbus, Teku, Prysm} {
		for _, s := range scenarios {
			t.Run(string(layout)+" "+s.name, func(t *testing.T) {
				t.Parallel()
				explore(t, layout, s, false)
				explore(t, layout, s, true)
			})
		}
	}
}

func explore(t *testing.T, layout Layout, s scenario, killed bool) {
	t.Helper()
	keys := testKeys(t, 2)
	for step := 1; ; step++ {
		require.Less(t, step, 200, "the run never ends")
		dir := filepath.Join(t.TempDir(), "out")
		s.prepare(t, dir, layout, keys)
		before := contents(t, dir)
		disk := &failingDisk{failAt: step, killed: killed}
		options := cheapOptions()
		options.disk = disk
		_, err := Write(t.Context(), dir, layout, keys, options)
		if disk.steps < step { // the run was over before
			require.NoError(t, err)
			require.Greater(t, step, 8, "some steps were explored")
			return
		}
		where := fmt.Sprintf("%s, %s, step %d, killed %t", layout, s.name, step, killed)
		if err != nil {
			require.ErrorIs(t, err, errDisk, where)
		}
		requireNothingHalf(t, dir, before, keys, err, killed, s.name, where)

		mustWrite(t, dir, layout, keys)
		requireHolds(t, dir, keys)
		require.NoError(t, removeIfThere(filepath.Join(dir, PodUIDFile)))
		requireGolden(t, dir, layout, keys)
	}
}

// requireNothingHalf: a folder is complete and right, or has no manifest; what it
// held before is still there; and unless the process was killed there is no trace.
func requireNothingHalf(t *testing.T, dir string, before map[string]string, keys []Key, failed error, killed bool, name, where string) {
	t.Helper()
	after := contents(t, dir)
	if failed == nil {
		requireHolds(t, dir, keys)
		return
	}
	switch name {
	case "adding a key":
		requireKept(t, before, after, keys[:1], where)
	case "mending a key":
		requireKept(t, before, after, keys[:1], where)
		return // the folder was broken before and may be
	}
	if _, complete := after[ManifestFile]; complete && name != "adding a key" {
		requireHolds(t, dir, keys)
		return
	}
	if !killed && name != "after another crash" && !published(after, before) {
		require.Equal(t, names(before), names(after), where)
	}
}

// published tells whether the manifest is the new one: then only a sync failed.
func published(after, before map[string]string) bool {
	return after[ManifestFile] != before[ManifestFile]
}

// requireKept demands that files of these keys are untouched. Prysm's wallet is
// replaced as a whole by one with more keys: that it decrypts and holds them is
// checked, whatever the manifest says.
func requireKept(t *testing.T, before, after map[string]string, keys []Key, where string) {
	t.Helper()
	for _, key := range keys {
		for name, was := range before {
			if strings.Contains(name, key.Secret.PublicKey().String()) && strings.HasPrefix(was, "-") {
				require.Equal(t, was, after[name], "%s: %s", where, name)
			}
		}
	}
	if was, prysm := before[prysmPassword]; prysm {
		require.Equal(t, was, after[prysmPassword], where)
	}
	if was, prysm := before[prysmAccounts]; prysm {
		_, password, _ := strings.Cut(before[prysmPassword], textMark)
		_, first, _ := strings.Cut(was, textMark)
		_, second, _ := strings.Cut(after[prysmAccounts], textMark)
		old, err := decryptPrysm([]byte(first), testPassword(t, password))
		require.NoError(t, err)
		now, err := decryptPrysm([]byte(second), testPassword(t, password))
		require.NoError(t, err, where)
		require.Subset(t, secretBytes(now), secretBytes(old), where)
	}
}

func names(contents map[string]string) []string {
	return slices.Sorted(maps.Keys(contents))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func secretBytes(secrets []*validator.SecretKey) [][]byte {
	out := make([][]byte, len(secrets))
	for i, secret := range secrets {
		out[i] = secret.Bytes()
	}
	return out
}
