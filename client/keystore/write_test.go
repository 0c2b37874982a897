package keystore

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

func TestSecondRunChangesNothing(t *testing.T) {
	t.Parallel()
	forEachLayout(t, func(t *testing.T, layout Layout) {
		t.Helper()
		dir, keys := t.TempDir(), testKeys(t, 3)
		mustWrite(t, dir, layout, keys)
		before := contents(t, dir)
		options := cheapOptions()
		disk := &failingDisk{failAt: 1, killed: true} // no step may be taken at all
		options.disk = disk
		keys[0], keys[2] = keys[2], keys[0]
		result, err := Write(t.Context(), dir, layout, keys, options)
		require.NoError(t, err)
		require.Equal(t, Result{Kept: 3}, result)
		require.Equal(t, before, contents(t, dir), "names, modes, times and bytes")
		require.Zero(t, disk.steps)
	})
}

func TestTopUpKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	forEachLayout(t, func(t *testing.T, layout Layout) {
		t.Helper()
		dir, keys := t.TempDir(), testKeys(t, 5)
		mustWrite(t, dir, layout, keys[1:3])
		before := contents(t, dir)
		result := mustWrite(t, dir, layout, keys)
		requireHolds(t, dir, keys)
		if layout == Prysm {
			require.Equal(t, Result{Written: 5}, result, "one file holds them all")
			require.Equal(t, before[prysmPassword], contents(t, dir)[prysmPassword])
			return
		}
		require.Equal(t, Result{Written: 3, Kept: 2}, result)
		after := contents(t, dir)
		for name, was := range before {
			if _, named := keyIn(name); named {
				require.Equal(t, was, after[name], name)
			}
		}
	})
}

func TestFilesOfOthersBesideTheKeys(t *testing.T) {
	t.Parallel()
	forEachLayout(t, func(t *testing.T, layout Layout) {
		t.Helper()
		dir, keys := t.TempDir(), testKeys(t, 2)
		put(t, filepath.Join(dir, PodUIDFile), "uid")
		require.NoError(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o700))
		mustWrite(t, dir, layout, keys)
		root := "."
		if roots := layout.roots(); roots != nil {
			root = roots[1]
		}
		// What validator clients leave beside their keys.
		put(t, filepath.Join(dir, root, "slashing_protection.sqlite"), "database")
		put(t, filepath.Join(dir, root, "logs", "validator.log"), "log")
		put(t, filepath.Join(dir, root, publicKeys(keys)[0]+".json.lock"), "lock")
		result := mustWrite(t, dir, layout, keys)
		require.Equal(t, Result{Kept: 2}, result)
		mustWrite(t, dir, layout, testKeys(t, 3))
		requireHolds(t, dir, testKeys(t, 3))
		require.FileExists(t, filepath.Join(dir, root, "slashing_protection.sqlite"))
		require.FileExists(t, filepath.Join(dir, PodUIDFile))
	})
}

func TestOccupiedFolders(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 3)
	foreign := keys[2].Secret.PublicKey().String()
	for name, occupy := range map[string]struct {
		by   func(t *testing.T, dir string)
		says string
	}{
		"a file":     {func(t *testing.T, dir string) { t.Helper(); put(t, filepath.Join(dir, "notes.txt"), "x") }, "notes.txt"},
		"a keystore": {func(t *testing.T, dir string) { t.Helper(); put(t, filepath.Join(dir, foreign+".json"), "x") }, foreign},
		"an empty folder": {func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "validators"), 0o700))
		}, "validators"},
		"other keys":     {func(t *testing.T, dir string) { t.Helper(); mustWrite(t, dir, Teku, keys[2:]) }, foreign},
		"more keys":      {func(t *testing.T, dir string) { t.Helper(); mustWrite(t, dir, Teku, keys) }, foreign},
		"another layout": {func(t *testing.T, dir string) { t.Helper(); mustWrite(t, dir, Nimbus, keys[:2]) }, "layout of nimbus, not teku"},
		"a foreign key": {func(t *testing.T, dir string) {
			t.Helper()
			mustWrite(t, dir, Teku, keys[:2])
			put(t, filepath.Join(dir, foreign+".json"), "x")
		}, foreign},
		"a nameless key": {func(t *testing.T, dir string) {
			t.Helper()
			mustWrite(t, dir, Teku, keys[:2])
			put(t, filepath.Join(dir, "keystore-m_1.json"), "x")
		}, "keystore-m_1.json"},
		"a broken list": {func(t *testing.T, dir string) { t.Helper(); put(t, filepath.Join(dir, ManifestFile), "{") }, "unreadable"},
		"a later list":  {func(t *testing.T, dir string) { t.Helper(); put(t, filepath.Join(dir, ManifestFile), `{"version":2}`) }, "version 2"},
		"a list that roams": {func(t *testing.T, dir string) {
			t.Helper()
			put(t, filepath.Join(dir, ManifestFile), `{"version":1,"layout":"teku","files":{"../x":"00"}}`)
		}, "outside"},
		"many files": {func(t *testing.T, dir string) {
			t.Helper()
			for _, name := range []string{"e", "d", "c", "b", "a"} {
				put(t, filepath.Join(dir, name), "x")
			}
		}, "a, b, c and 2 more"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			occupy.by(t, dir)
			before := contents(t, dir)
			_, err := Write(t.Context(), dir, Teku, keys[:2], cheapOptions())
			require.ErrorIs(t, err, ErrOccupied)
			require.ErrorContains(t, err, occupy.says)
			require.ErrorContains(t, err, dir)
			require.Equal(t, before, contents(t, dir), "nothing may be touched")
		})
	}
}

func TestForeignKeysInEveryLayout(t *testing.T) {
	t.Parallel()
	forEachLayout(t, func(t *testing.T, layout Layout) {
		t.Helper()
		dir, keys := t.TempDir(), testKeys(t, 3)
		mustWrite(t, dir, layout, keys[:2])
		name := "wallet/direct/accounts/old/all-accounts.keystore.json"
		if layout != Prysm {
			name = schemes[layout].keystorePath(keys[2].Secret.PublicKey())
		}
		put(t, filepath.Join(dir, name), "{}")
		before := contents(t, dir)
		_, err := Write(t.Context(), dir, layout, keys, cheapOptions())
		require.ErrorIs(t, err, ErrOccupied, "a key that we did not write, though it is asked for")
		require.Equal(t, before, contents(t, dir))
	})
}

func TestDamageIsMended(t *testing.T) {
	t.Parallel()
	forEachLayout(t, func(t *testing.T, layout Layout) {
		t.Helper()
		keys := testKeys(t, 2)
		clean := t.TempDir()
		mustWrite(t, clean, layout, keys)
		for _, line := range tree(t, clean) {
			name := line[strings.Index(line, " ")+1:]
			if strings.HasPrefix(line, "d") || name == ManifestFile {
				continue
			}
			for what, damage := range map[string]func(path string) error{
				"removed":   os.Remove,
				"truncated": func(path string) error { return os.Truncate(path, 1) },
				"folder":    func(path string) error { return removeFolder(dirOf(path)) },
				"mode":      func(path string) error { return os.Chmod(path, 0o644) },
				"group":     func(path string) error { return os.Chmod(dirOf(path), 0o770) },
			} {
				dir := t.TempDir()
				mustWrite(t, dir, layout, keys)
				other := keyNotIn(name, keys)
				before := contents(t, dir)
				require.NoError(t, damage(filepath.Join(dir, name)), what)
				if what == "folder" && layout == Teku {
					put(t, filepath.Join(dir, ManifestFile), textOf(before[ManifestFile]))
				}
				mustWrite(t, dir, layout, keys)
				requireHolds(t, dir, keys)
				requireGolden(t, dir, layout, keys)
				if what != "folder" && layout != Prysm && what != "group" {
					untouched := schemes[layout].keystorePath(other)
					require.Equal(t, before[untouched], contents(t, dir)[untouched], "the other key was all right")
				}
			}
		}
	})
}

func dirOf(path string) string { return filepath.Dir(path) }

// removeFolder empties a folder, as the destination itself has to stay.
func removeFolder(path string) error {
	entries, err := os.ReadDir(path)
	for _, entry := range entries {
		if err == nil {
			err = os.RemoveAll(filepath.Join(path, entry.Name()))
		}
	}
	return err
}

// textOf cuts mode and time off what contents returned.
func textOf(content string) string {
	_, text, _ := strings.Cut(content, textMark)
	return text
}

func keyNotIn(name string, keys []Key) validator.PublicKey {
	for _, key := range keys {
		if public := key.Secret.PublicKey(); !strings.Contains(name, public.String()) {
			return public
		}
	}
	return validator.PublicKey{}
}

func TestBadArguments(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 2)
	dir := filepath.Join(t.TempDir(), "out")
	_, err := Write(t.Context(), dir, "grandine", keys, cheapOptions())
	require.ErrorContains(t, err, "lighthouse, lodestar, nimbus, teku, prysm")
	_, err = Write(t.Context(), dir, Teku, nil, cheapOptions())
	require.ErrorContains(t, err, "no keys")
	_, err = Write(t.Context(), dir, Teku, append(keys, keys[0]), cheapOptions())
	require.ErrorContains(t, err, "twice")
	_, err = Write(t.Context(), dir, Teku, keys, Options{KDF: "argon2"})
	require.ErrorContains(t, err, "pbkdf2, scrypt")
	require.NoDirExists(t, dir)

	put(t, dir, "a file")
	_, err = Write(t.Context(), dir, Teku, keys, cheapOptions())
	require.Error(t, err)
	_, err = Write(t.Context(), filepath.Join(dir, "below"), Teku, keys, cheapOptions())
	require.Error(t, err)
}

func TestOneRunAtATime(t *testing.T) {
	t.Parallel()
	dir, keys := t.TempDir(), testKeys(t, 2)
	other, err := openFolder(dir, hastyDisk{})
	require.NoError(t, err)
	// What a living run has under way is nobody else's to remove.
	put(t, filepath.Join(dir, stagePrefix+"1", "secret"), "x")
	_, err = Write(t.Context(), dir, Teku, keys, cheapOptions())
	require.ErrorIs(t, err, ErrBusy)
	_, err = Check(dir, Teku)
	require.ErrorIs(t, err, ErrBusy)
	require.FileExists(t, filepath.Join(dir, stagePrefix+"1", "secret"))

	other.close()
	mustWrite(t, dir, Teku, keys)
	requireGolden(t, dir, Teku, keys)
}

func TestCancelledRunLeavesNothing(t *testing.T) {
	t.Parallel()
	forEachLayout(t, func(t *testing.T, layout Layout) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		options := cheapOptions()
		options.Progress = func(int) { cancel() }
		dir := filepath.Join(t.TempDir(), "a", "b")
		_, err := Write(ctx, dir, layout, testKeys(t, 3), options)
		require.ErrorIs(t, err, context.Canceled)
		require.NoDirExists(t, filepath.Dir(dir), "folders made for this run are gone")
	})
}

func TestManifestHasNoSecrets(t *testing.T) {
	t.Parallel()
	forEachLayout(t, func(t *testing.T, layout Layout) {
		t.Helper()
		dir, keys := t.TempDir(), testKeys(t, 2)
		options := cheapOptions()
		options.Password = testPassword(t, "hunter2 hunter2")
		_, err := Write(t.Context(), dir, layout, keys, options)
		require.NoError(t, err)
		for name, content := range contents(t, dir) {
			for _, key := range keys {
				require.NotContains(t, content, string(key.Secret.Bytes()))
				require.NotContains(t, content, hex.EncodeToString(key.Secret.Bytes()), name)
			}
			if name == ManifestFile {
				require.NotContains(t, content, "hunter2")
			}
		}
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	dir, keys := filepath.Join(t.TempDir(), "out"), testKeys(t, 2)
	held, err := Check(dir, Teku)
	require.NoError(t, err)
	require.Empty(t, held)
	require.NoDirExists(t, dir)

	mustWrite(t, dir, Teku, keys)
	held, err = Check(dir, Teku)
	require.NoError(t, err)
	require.Len(t, held, 2)
	_, err = Check(dir, Lighthouse)
	require.ErrorIs(t, err, ErrOccupied)
	_, err = Check(dir, "grandine")
	require.ErrorContains(t, err, "unknown layout")
}

func TestReadRefusals(t *testing.T) {
	t.Parallel()
	forEachLayout(t, func(t *testing.T, layout Layout) {
		t.Helper()
		dir, keys := t.TempDir(), testKeys(t, 2)
		_, err := Read(t.Context(), dir)
		require.ErrorIs(t, err, ErrIncomplete)
		mustWrite(t, dir, layout, keys)
		passwords, keystore := prysmPassword, prysmAccounts
		if layout != Prysm {
			passwords = schemes[layout].passwordPath(keys[0].Secret.PublicKey())
			keystore = schemes[layout].keystorePath(keys[0].Secret.PublicKey())
		}
		put(t, filepath.Join(dir, passwords), "wrong")
		_, err = Read(t.Context(), dir)
		require.ErrorIs(t, err, ErrPassword)
		require.NoError(t, os.Remove(filepath.Join(dir, passwords)))
		_, err = Read(t.Context(), dir)
		require.ErrorIs(t, err, ErrIncomplete)
		require.NoError(t, os.Remove(filepath.Join(dir, keystore)))
		_, err = Read(t.Context(), dir)
		require.ErrorIs(t, err, ErrIncomplete)
	})
}

func TestSwappedKeystoresAreNoticed(t *testing.T) {
	t.Parallel()
	dir, keys := t.TempDir(), testKeys(t, 2)
	mustWrite(t, dir, Teku, keys)
	first, second := keys[0].Secret.PublicKey().String()+".json", keys[1].Secret.PublicKey().String()+".json"
	raw, err := os.ReadFile(filepath.Join(dir, first))
	require.NoError(t, err)
	put(t, filepath.Join(dir, second), string(raw))
	_, err = Read(t.Context(), dir)
	require.ErrorIs(t, err, ErrPublicKeyMismatch)
}
