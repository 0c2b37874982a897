package keystore

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func ended(keys ...Key) Options {
	options := cheapOptions()
	for _, key := range keys {
		options.Ended = append(options.Ended, key.Secret.PublicKey())
	}
	return options
}

func revoked(keys ...Key) Options {
	options := cheapOptions()
	for _, key := range keys {
		options.Revoked = append(options.Revoked, key.Secret.PublicKey())
	}
	return options
}

// requireListed: the manifest lists these keys and the folder can be used.
func requireListed(t *testing.T, dir string, layout Layout, keys ...Key) {
	t.Helper()
	listed, err := Check(dir, layout)
	require.NoError(t, err)
	names := make([]string, len(listed))
	for i, key := range listed {
		names[i] = key.String()
	}
	require.Equal(t, publicKeys(keys), names)
}

func TestKeysThatAreOverMayStay(t *testing.T) {
	t.Parallel()
	forEachLayout(t, func(t *testing.T, layout Layout) {
		t.Helper()
		dir, keys := t.TempDir(), testKeys(t, 3)
		mustWrite(t, dir, layout, keys[:2])
		before := contents(t, dir)
		_, err := Write(t.Context(), dir, layout, keys[1:2], cheapOptions())
		require.ErrorIs(t, err, ErrOtherKeys, "a key that nobody says is over")
		result, err := Write(t.Context(), dir, layout, keys[1:2], ended(keys[0]))
		require.NoError(t, err)
		require.Equal(t, Result{Kept: 1, Ended: 1}, result)
		require.Equal(t, before, contents(t, dir), "nothing is to be done")

		result, err = Write(t.Context(), dir, layout, keys[1:], ended(keys[0]))
		require.NoError(t, err)
		if layout == Prysm {
			require.Equal(t, Result{Written: 2, Ended: 0}, result, "the wallet is written as a whole")
			requireListed(t, dir, layout, keys[1:]...)
			requireHolds(t, dir, keys[1:])
			return
		}
		require.Equal(t, Result{Written: 1, Kept: 1, Ended: 1}, result)
		requireListed(t, dir, layout, keys...)
		requireHolds(t, dir, keys)
		requireKept(t, before, contents(t, dir), keys[:2], string(layout))
		result, err = Write(t.Context(), dir, layout, keys[1:], ended(keys[0]))
		require.NoError(t, err)
		require.Equal(t, Result{Kept: 2, Ended: 1}, result)
		_, err = Write(t.Context(), dir, layout, keys[1:], cheapOptions())
		require.ErrorIs(t, err, ErrOtherKeys)
	})
}

func TestRevokedKeysAreTakenOut(t *testing.T) {
	t.Parallel()
	forEachLayout(t, func(t *testing.T, layout Layout) {
		t.Helper()
		dir, keys := t.TempDir(), testKeys(t, 4)
		mustWrite(t, dir, layout, keys[:2])
		gone := keys[0].Secret.PublicKey()
		if layout != Prysm && !schemes[layout].flat { // what a validator client keeps beside a key
			put(t, filepath.Join(dir, filepath.Dir(schemes[layout].keystorePath(gone)), "some.lock"), "")
		}
		result, err := Write(t.Context(), dir, layout, keys[1:3], revoked(keys[0], keys[0], keys[3]))
		require.NoError(t, err)
		require.Equal(t, 1, result.Revoked)
		requireListed(t, dir, layout, keys[1:3]...)
		requireHolds(t, dir, keys[1:3])
		if layout != Prysm {
			require.NoFileExists(t, filepath.Join(dir, schemes[layout].keystorePath(gone)))
			require.NoFileExists(t, filepath.Join(dir, schemes[layout].passwordPath(gone)))
		}
		result, err = Write(t.Context(), dir, layout, keys[1:3], cheapOptions())
		require.NoError(t, err, "nobody has to say so again")
		require.Equal(t, Result{Kept: 2}, result)
		if layout != Prysm {
			put(t, filepath.Join(dir, schemes[layout].keystorePath(gone)), "{}")
			_, err = Check(dir, layout)
			require.ErrorIs(t, err, ErrOccupied, "a keystore of it that somebody put back is foreign")
		}
	})
}

func TestRevokedFolderOfAKeyIsRemovedIfEmpty(t *testing.T) {
	t.Parallel()
	dir, keys := t.TempDir(), testKeys(t, 2)
	mustWrite(t, dir, Lighthouse, keys)
	_, err := Write(t.Context(), dir, Lighthouse, keys[1:], revoked(keys[0]))
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Join(dir, filepath.Dir(schemes[Lighthouse].keystorePath(keys[0].Secret.PublicKey()))))
}

// Taking a key out fails, or is killed, at every step: the others are never
// touched, and a run on a good disk finishes the work.
func TestTakingOutFailsAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, layout := range []Layout{Nimbus, Teku, Prysm} {
		for _, killed := range []bool{false, true} {
			t.Run(string(layout), func(t *testing.T) {
				t.Parallel()
				exploreTakingOut(t, layout, killed)
			})
		}
	}
}

func exploreTakingOut(t *testing.T, layout Layout, killed bool) {
	t.Helper()
	keys := testKeys(t, 2)
	for step := 1; ; step++ {
		require.Less(t, step, 100, "the run never ends")
		dir := t.TempDir()
		mustWrite(t, dir, layout, keys)
		before := contents(t, dir)
		options, disk := revoked(keys[0]), &failingDisk{failAt: step, killed: killed}
		options.disk = disk
		_, err := Write(t.Context(), dir, layout, keys[1:], options)
		if disk.steps < step {
			require.NoError(t, err)
			require.Greater(t, step, 6, "some steps were explored")
			return
		}
		if layout != Prysm {
			requireKept(t, before, contents(t, dir), keys[1:], string(layout))
		}
		listed, err := Check(dir, layout)
		require.NoError(t, err, "step %d", step)
		require.True(t, slices.Contains(listed, keys[1].Secret.PublicKey()))
		_, err = Write(t.Context(), dir, layout, keys[1:], revoked(keys[0]))
		require.NoError(t, err, "step %d", step)
		requireHolds(t, dir, keys[1:])
		requireListed(t, dir, layout, keys[1])
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, entry := range entries {
			require.NotContains(t, entry.Name(), stagePrefix)
		}
	}
}
