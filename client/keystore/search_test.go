package keystore

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// keystoreFile writes one key as the JSON of a keystore.
func keystoreFile(t *testing.T, path string, key Key, password string, change ...func(*Keystore)) {
	t.Helper()
	drawn, err := draw(strings.NewReader(strings.Repeat("r", 100)))
	require.NoError(t, err)
	one, err := encrypt(key, testPassword(t, password), PBKDF2, cheap, drawn)
	require.NoError(t, err)
	for _, f := range change {
		f(&one)
	}
	text, err := json.Marshal(one)
	require.NoError(t, err)
	put(t, path, string(text))
}

func search(t *testing.T, dir string) ([]Found, []Skipped) {
	t.Helper()
	found, skipped, err := Search(dir)
	require.NoError(t, err)
	return found, skipped
}

func openAll(t *testing.T, found []Found, common Password) []Opened {
	t.Helper()
	opened, err := OpenAll(t.Context(), found, common, Options{})
	require.NoError(t, err)
	require.Len(t, opened, len(found))
	return opened
}

// Each layout is found with the passwords that lie where it keeps them, without
// the manifest, and however deep.
func TestEveryLayoutIsFoundAndOpened(t *testing.T) {
	t.Parallel()
	forEachLayout(t, func(t *testing.T, layout Layout) {
		t.Helper()
		dir := t.TempDir()
		keys := testKeys(t, 3)
		mustWrite(t, filepath.Join(dir, "some", "where"), layout, keys)
		require.NoError(t, os.Remove(filepath.Join(dir, "some", "where", ManifestFile)))
		found, skipped := search(t, dir)
		var got []Entry
		for _, one := range openAll(t, found, Password{}) {
			require.NoError(t, one.Err, one.File)
			got = append(got, one.Keys...)
		}
		var names []string
		for _, entry := range got {
			require.Equal(t, entry.PublicKey, entry.Secret.PublicKey())
			require.FileExists(t, entry.File)
			names = append(names, entry.PublicKey.String())
		}
		slices.Sort(names)
		require.Equal(t, publicKeys(keys), names)
		for _, s := range skipped {
			require.Equal(t, "no keystore", s.Reason, s.File) // Prysm's options
			require.False(t, s.Damaged)
		}
	})
}

func TestPasswordFilesOfOtherLayouts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := testKeys(t, 4)
	put(t, filepath.Join(dir, "teku", "passwords", "a.txt"), "one\n")
	keystoreFile(t, filepath.Join(dir, "teku", "keys", "a.json"), keys[0], "one")
	put(t, filepath.Join(dir, "flat", "keystore-m_12381_3600_0_0_0-1.txt"), "two")
	keystoreFile(t, filepath.Join(dir, "flat", "keystore-m_12381_3600_0_0_0-1.json"), keys[1], "two")
	put(t, filepath.Join(dir, "lh", "secrets", "0xabc"), "three")
	keystoreFile(t, filepath.Join(dir, "lh", "validators", "0xabc", "keystore.JSON"), keys[2], "three")
	keystoreFile(t, filepath.Join(dir, "none", "b.json"), keys[3], "four")
	found, skipped := search(t, dir)
	require.Empty(t, skipped)
	opened := openAll(t, found, Password{})
	require.Len(t, opened, 4)
	for i, name := range []string{"flat", "lh", "none", "teku"} {
		require.Contains(t, opened[i].File, "/"+name+"/", "by name")
		if name == "none" {
			require.ErrorIs(t, opened[i].Err, ErrNoPassword)
		} else {
			require.NoError(t, opened[i].Err, name)
		}
	}
	for i, one := range openAll(t, found, testPassword(t, "four")) {
		if i == 2 {
			require.NoError(t, one.Err)
		} else {
			require.ErrorIs(t, one.Err, ErrPassword, "the password for all goes before those beside")
		}
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 2)
	for name, c := range map[string]struct {
		change func(*Keystore)
		want   error
	}{
		"fine":               {func(*Keystore) {}, nil},
		"no public key":      {func(k *Keystore) { k.PublicKey = "" }, nil},
		"another key":        {func(k *Keystore) { k.PublicKey = keys[1].name().String() }, ErrPublicKeyMismatch},
		"no public key's":    {func(k *Keystore) { k.PublicKey = "0x12" }, ErrKeystore},
		"altered checksum":   {func(k *Keystore) { k.Crypto.Checksum.Message = strings.Repeat("00", 32) }, ErrPassword},
		"short ciphertext":   {func(k *Keystore) { k.Crypto.Cipher.Message = "00" }, ErrKeystore},
		"unknown function":   {func(k *Keystore) { k.Crypto.KDF.Function = "argon2" }, ErrKeystore},
		"costs all memory":   {func(k *Keystore) { k.Crypto.KDF = kdfModule{Scrypt, kdfParams{DKLen: 32, N: 1 << 40, R: 8, P: 1}, ""} }, ErrKeystore},
		"takes all day":      {func(k *Keystore) { k.Crypto.KDF.Params.C = 1 << 40 }, ErrKeystore},
		"out of the group":   {func(k *Keystore) { zeroSecret(t, k) }, ErrKeystore},
		"unknown cipher":     {func(k *Keystore) { k.Crypto.Cipher.Function = "none" }, ErrKeystore},
		"ciphertext altered": {func(k *Keystore) { k.Crypto.Cipher.Message = strings.Repeat("11", 32) }, ErrPassword},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			keystoreFile(t, filepath.Join(dir, "bad.json"), keys[0], "p", c.change)
			keystoreFile(t, filepath.Join(dir, "good.json"), keys[1], "p")
			found, skipped := search(t, dir)
			require.Empty(t, skipped)
			opened := openAll(t, found, testPassword(t, "p"))
			require.ErrorIs(t, opened[0].Err, c.want)
			require.Equal(t, c.want != nil, len(opened[0].Keys) == 0)
			require.NoError(t, opened[1].Err, "one bad file stops no other")
			require.Equal(t, keys[1].Secret.Bytes(), opened[1].Keys[0].Secret.Bytes())
		})
	}
}

// zeroSecret makes a keystore whose secret is 0, which is no key.
func zeroSecret(t *testing.T, k *Keystore) {
	t.Helper()
	drawn, err := draw(strings.NewReader(strings.Repeat("r", 100)))
	require.NoError(t, err)
	k.Crypto, err = conceal(make([]byte, secretLength), testPassword(t, "p"), k.Crypto.KDF, drawn.iv)
	require.NoError(t, err)
}

func TestFilesThatAreSkipped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := testKeys(t, 1)[0]
	put(t, filepath.Join(dir, "deposit_data-1.json"), `[{"pubkey":"00"}]`)
	put(t, filepath.Join(dir, "empty.json"), ``)
	put(t, filepath.Join(dir, "cut.json"), `{"crypto":{`)
	put(t, filepath.Join(dir, "large.json"), `"`+strings.Repeat("x", maxKeystoreSize)+`"`)
	put(t, filepath.Join(dir, "protection.json"), `{"metadata":{},"data":[]}`)
	put(t, filepath.Join(dir, "strange.json"), `{"crypto":7,"version":4}`)
	put(t, filepath.Join(dir, "wallet.json"), `{"crypto":{},"version":3,"address":"00"}`)
	put(t, filepath.Join(dir, "readme.txt"), `{"crypto":{},"version":4}`)
	keystoreFile(t, filepath.Join(dir, ".hidden.json"), key, "p")
	keystoreFile(t, filepath.Join(dir, ".git", "key.json"), key, "p")
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "gone.json")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder.json"), 0o700))
	found, skipped := search(t, dir)
	require.Empty(t, found)
	got := map[string]bool{}
	for _, s := range skipped {
		require.NotEmpty(t, s.Reason)
		got[filepath.Base(s.File)] = s.Damaged
	}
	require.Equal(t, map[string]bool{
		"deposit_data-1.json": false, "empty.json": true, "cut.json": true, "large.json": false, "protection.json": false,
		"strange.json": true, "wallet.json": false, "gone.json": true,
	}, got)
}

// A secret that Kubernetes mounts is a farm of links to a hidden folder.
func TestMountedSecretIsFoundOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := testKeys(t, 1)[0]
	keystoreFile(t, filepath.Join(dir, "mount", "..2026_01", "key.json"), key, "p")
	put(t, filepath.Join(dir, "mount", "..2026_01", "key.txt"), "p")
	require.NoError(t, os.Symlink("..2026_01", filepath.Join(dir, "mount", "..data")))
	for _, name := range []string{"key.json", "key.txt"} {
		require.NoError(t, os.Symlink("..data/"+name, filepath.Join(dir, "mount", name)))
	}
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("mount", link))
	for _, root := range []string{dir, link} {
		found, skipped := search(t, root)
		require.Empty(t, skipped)
		require.Len(t, found, 1, root)
		require.NoError(t, openAll(t, found, Password{})[0].Err)
	}
}

func TestSearchWhereNothingIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	found, skipped := search(t, dir)
	require.Empty(t, found)
	require.Empty(t, skipped)
	_, _, err := Search(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	put(t, filepath.Join(dir, "file.json"), "{}")
	_, _, err = Search(filepath.Join(dir, "file.json"))
	require.ErrorContains(t, err, "not a folder")
}

func TestVectorsAreOpenedTogether(t *testing.T) {
	t.Parallel()
	found, skipped := search(t, "testdata")
	require.Empty(t, skipped)
	require.Len(t, found, 2, "scrypt and PBKDF2")
	for _, one := range openAll(t, found, testPassword(t, vectorPassword)) {
		require.NoError(t, one.Err)
		require.Equal(t, "0x"+vectorPublic, one.Keys[0].PublicKey.String())
	}
}

func TestOpenAllTellsProgressAndStops(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i, key := range testKeys(t, 20) {
		keystoreFile(t, filepath.Join(dir, string(rune('a'+i))+".json"), key, "p")
	}
	found, _ := search(t, dir)
	var told []int
	_, err := OpenAll(t.Context(), found, testPassword(t, "p"), Options{Progress: func(done int) { told = append(told, done) }})
	require.NoError(t, err)
	require.Len(t, told, 20)
	require.True(t, slices.IsSorted(told))

	ctx, cancel := context.WithCancel(t.Context())
	opened, err := OpenAll(ctx, found, testPassword(t, "p"), Options{Workers: 1, Progress: func(int) { cancel() }})
	require.ErrorIs(t, err, context.Canceled)
	require.Nil(t, opened)
}

func FuzzExamine(f *testing.F) {
	f.Add([]byte(`{"crypto":{"kdf":{"function":"pbkdf2"}},"version":4}`), false)
	f.Add([]byte(`[]`), true)
	raw, err := os.ReadFile("testdata/pbkdf2.json")
	require.NoError(f, err)
	f.Add(raw, true)
	f.Fuzz(func(t *testing.T, data []byte, wallet bool) {
		name := filepath.Join(t.TempDir(), "a.json")
		if wallet {
			name = filepath.Join(t.TempDir(), filepath.Base(prysmAccounts))
		}
		require.NoError(t, os.WriteFile(name, data, 0o600))
		one, why := examine(name)
		if why != nil {
			require.NotEmpty(t, why.Reason)
			return
		}
		if c := one.keystore.Crypto.KDF.Params; c.C > 10 || c.N > 16 {
			return // dear, and tested elsewhere
		}
		if wallet {
			return
		}
		keys, err := one.open(testPassword(t, "p"))
		require.Equal(t, err != nil, len(keys) == 0)
	})
}
