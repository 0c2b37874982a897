package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
	"github.com/keysteward/keysteward/client/keystore"
)

// files returns the content of every file below a folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(name) //nolint:gosec // a folder of this test
		found[strings.TrimPrefix(name, dir)] = string(content)
		return err
	}))
	return found
}

func allocateArgs(dir, pod, keys, layout string, more ...string) []string {
	return append([]string{"allocate", "--pod", pod, "--keys", keys, "--out", dir, "--layout", layout}, more...)
}

func TestAllocate(t *testing.T) {
	t.Parallel()
	for _, layout := range layoutNames() {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			n := uint64(1) // each costs a tenth of a second, and many times that under the race detector
			if layout == string(keystore.Prysm) {
				n = 2
			}
			keys := plural(int(n), "key")
			cluster := clienttest.Start(t, 3)
			cluster.Lead(2)
			cluster.PendingFor = 2
			dir := filepath.Join(t.TempDir(), "made", "keys")
			sh := at(cluster)
			got := sh.run(t, allocateArgs(dir, "a", strconv.FormatUint(n, 10), layout)...)
			require.Zero(t, got.code, got.err)
			require.Equal(t, fmt.Sprintf("pod default/a holds %s, fence 1; %s written to %s for %s\n", keys, plural(int(n), "keystore"), dir, layout), got.out)
			require.Contains(t, got.err, "waiting: deposits are on their way (depositing)\n")
			require.Contains(t, got.err, fmt.Sprintf("keys ready: %d of %d\n", n-1, n))
			require.Contains(t, got.err, fmt.Sprintf("keystores encrypted: %d of %d\n", n, n))
			requireKeys(t, cluster, dir, n)

			before := files(t, dir)
			got = sh.run(t, allocateArgs(dir, "a", strconv.FormatUint(n, 10), layout)...)
			require.Zero(t, got.code, got.err)
			require.Equal(t, fmt.Sprintf("pod default/a holds %s, fence 1; %s is already right\n", keys, dir), got.out)
			require.Equal(t, before, files(t, dir))
		})
	}
}

// requireKeys reads the keystores back.
func requireKeys(t *testing.T, cluster *clienttest.Cluster, dir string, n uint64) {
	t.Helper()
	entries, err := keystore.Read(t.Context(), dir)
	require.NoError(t, err)
	require.Len(t, entries, int(n))
	held := map[string]bool{}
	for _, entry := range entries {
		held[entry.PublicKey.String()] = true
		require.Equal(t, entry.PublicKey, entry.Secret.PublicKey())
	}
	for i := range n {
		require.True(t, held[cluster.Key(i).PublicKey().String()])
	}
}

func TestAllocateMoreAndFewer(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	dir := t.TempDir()
	sh := at(cluster)
	require.Zero(t, sh.run(t, allocateArgs(dir, "a", "2", "teku")...).code)
	before := files(t, dir)

	got := sh.run(t, allocateArgs(dir, "a", "1", "teku")...)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "holds 2 keys, fence 1 (asked for 1: a pod gets all that it holds)")
	require.Equal(t, before, files(t, dir))

	got = sh.run(t, allocateArgs(dir, "a", "3", "teku")...)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "holds 3 keys, fence 2; 1 keystore written to "+dir+" for teku, 2 kept\n")
	require.Len(t, files(t, dir), 3*2+2)
}

func TestAllocateKeepsItsUID(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.PendingFor = -1
	dir := t.TempDir()
	got := at(cluster).run(t, allocateArgs(dir, "a", "1", "teku", "--timeout", "1s")...)
	require.Equal(t, ExitPending, got.code, got.err)
	require.Contains(t, got.err, "the key is not there yet")
	raw, err := os.ReadFile(filepath.Join(dir, keystore.PodUIDFile))
	require.NoError(t, err)
	minted, pod, _ := strings.Cut(strings.TrimSpace(string(raw)), "\n")
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, minted)
	require.Equal(t, "default/a", pod)

	cluster.PendingFor = 0
	require.Zero(t, at(cluster).run(t, allocateArgs(dir, "a", "1", "teku")...).code)
	require.Equal(t, minted, cluster.Allocation("default", "a").PodUID)
	info, err := os.Stat(filepath.Join(dir, keystore.PodUIDFile))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
}

func TestAllocateWithScrypt(t *testing.T) {
	t.Parallel()
	f := &allocation{pod: "a", namespace: "default", keys: 1, out: "x", layout: "teku", kdf: "scrypt", kem: "X25519"}
	p, err := f.plan((&app{}).allocateCommand())
	require.Error(t, err, "the flags of the command are not set")
	require.Zero(t, p)
	cmd := (&app{}).allocateCommand()
	for _, name := range []string{"pod", "keys", "out", "layout"} {
		cmd.Flags().Lookup(name).Changed = true
	}
	p, err = f.plan(cmd)
	require.NoError(t, err)
	require.Equal(t, keystore.Scrypt, p.kdf)
	require.Equal(t, wire.KEMX25519, p.kem)
}

func TestAllocateWithPasswordAndUID(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	dir := t.TempDir()
	password := writeFile(t, "correct horse\n")
	got := at(cluster).run(t, allocateArgs(dir, "a", "1", "lighthouse", "--quiet", "--password-file", password, "--pod-uid", "U.1", "--kem", "x25519")...)
	require.Zero(t, got.code, got.err)
	found := files(t, dir)
	key := cluster.Key(0).PublicKey().String()
	require.Equal(t, "correct horse", found["/secrets/"+key])
	require.Contains(t, found["/validators/"+key+"/voting-keystore.json"], `"pbkdf2"`)
	require.Empty(t, got.out+got.err, "--quiet")
	require.Equal(t, "U.1", cluster.Allocation("default", "a").PodUID)
}

// What can be known without a server is told before one is asked.
func TestAllocateChecksFirst(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	occupied := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(occupied, "keystore.json"), []byte("{}"), 0o600))
	belowFile := filepath.Join(writeFile(t, ""), "keys")
	fresh := filepath.Join(t.TempDir(), "fresh")
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no pod", []string{"allocate"}, ExitUsage, "--pod is required"},
		{"no keys", []string{"allocate", "--pod", "a"}, ExitUsage, "--keys is required"},
		{"no layout", []string{"allocate", "--pod", "a", "--keys", "1", "--out", fresh}, ExitUsage, "--layout is required"},
		{"zero keys", allocateArgs(fresh, "a", "0", "teku"), ExitUsage, "want at least 1"},
		{"negative keys", allocateArgs(fresh, "a", "-1", "teku"), ExitUsage, "want at least 1"},
		{"2^63 keys", allocateArgs(fresh, "a", "9223372036854775808", "teku"), ExitUsage, "out of range"},
		{"layout", allocateArgs(fresh, "a", "1", "geth"), ExitUsage, "choose one of lighthouse"},
		{"KDF", allocateArgs(fresh, "a", "1", "teku", "--kdf", "argon"), ExitUsage, "choose one of pbkdf2"},
		{"KEM", allocateArgs(fresh, "a", "1", "teku", "--kem", "rsa"), ExitUsage, "choose one of mlkem768x25519"},
		{"pod name", allocateArgs(fresh, "A_b", "1", "teku"), ExitUsage, "pod name"},
		{"namespace", allocateArgs(fresh, "a", "1", "teku", "--namespace", "a.b"), ExitUsage, "namespace"},
		{"UID", allocateArgs(fresh, "a", "1", "teku", "--pod-uid", "a/b"), ExitUsage, "pod UID"},
		{"password file", allocateArgs(fresh, "a", "1", "teku", "--password-file", fresh), ExitFailure, "--password-file"},
		{"empty password", allocateArgs(fresh, "a", "1", "teku", "--password-file", writeFile(t, "\n")), ExitFailure, "the password is empty"},
		{"occupied", allocateArgs(occupied, "a", "1", "teku"), ExitFailure, "occupied"},
		{"below a file", allocateArgs(belowFile, "a", "1", "teku"), ExitFailure, "not a directory"},
	}
	for _, test := range tests {
		got := sh.run(t, test.args...)
		require.Equal(t, test.code, got.code, "%s: %s", test.name, got.err)
		require.Contains(t, got.err, test.says, test.name)
	}
	require.Empty(t, cluster.Requests(), "nobody was asked")
	require.NoDirExists(t, fresh)
	require.Len(t, files(t, occupied), 1)
}

func TestAllocateIntoTheFolderOfAnother(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	dir := t.TempDir()
	require.Zero(t, sh.run(t, allocateArgs(dir, "a", "1", "teku", "--pod-uid", "1")...).code)
	before, asked := files(t, dir), len(cluster.Requests())

	got := sh.run(t, allocateArgs(dir, "b", "1", "teku")...)
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "folder of pod default/a, not of default/b")
	got = sh.run(t, allocateArgs(dir, "a", "1", "nimbus")...)
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "layout of teku, not nimbus")
	require.Len(t, cluster.Requests(), asked, "nobody was asked")
	require.Equal(t, before, files(t, dir))

	// Another UID under the same name gets nothing while the first one holds keys.
	got = sh.run(t, allocateArgs(t.TempDir(), "a", "1", "teku", "--timeout", "1s")...)
	require.Equal(t, ExitPending, got.code, got.err)
	require.Contains(t, got.err, "(other-uid)")
}

func TestReplacedPodComesBackToItsVolume(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Tamper = func(outer *wire.Allocation, _ *wire.AllocationSecrets) { outer.PodUID = "2" }
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, keystore.PodUIDFile), []byte("1\ndefault/a\n"), 0o600))
	got := at(cluster).run(t, allocateArgs(dir, "a", "1", "teku", "--pod-uid", "2")...)
	require.Zero(t, got.code, got.err)
	require.Equal(t, "2\ndefault/a\nb3f0c1de-test 1\n", files(t, dir)["/"+keystore.PodUIDFile])
}

func TestDamagedClaim(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	for _, content := range []string{"", "\n", "uid\n", "../x\ndefault/a\n"} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, keystore.PodUIDFile), []byte(content), 0o600))
		got := at(cluster).run(t, allocateArgs(dir, "a", "1", "teku")...)
		require.Equal(t, ExitFailure, got.code)
		require.Contains(t, got.err, "is damaged")
	}
	require.Empty(t, cluster.Requests())
}

func TestConcurrentClaimsAgree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	uids := make(chan string, 8)
	for range cap(uids) {
		go func() {
			folder, err := claimFolder(dir, "default", "a", "")
			if err != nil {
				folder = &claimed{podUID: err.Error()}
			}
			uids <- folder.podUID
		}()
	}
	first := <-uids
	for range cap(uids) - 1 {
		require.Equal(t, first, <-uids)
	}
	require.Len(t, files(t, dir), 1, "no temporary file is left")
}

func TestAllocateFails(t *testing.T) {
	t.Parallel()
	t.Run("forbidden", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		cluster.Intercept = refuse(http.StatusForbidden, "forbidden", "the role viewer may not")
		dir := t.TempDir()
		got := at(cluster).run(t, allocateArgs(dir, "a", "1", "teku")...)
		require.Equal(t, ExitFailure, got.code)
		require.Contains(t, got.err, "the role viewer may not")
		require.Empty(t, files(t, dir), "nothing was asked for")
	})
	t.Run("untrustworthy answer", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		cluster.Tamper = func(_ *wire.Allocation, inner *wire.AllocationSecrets) { inner.Fence++ }
		dir := t.TempDir()
		got := at(cluster).run(t, allocateArgs(dir, "a", "1", "teku")...)
		require.Equal(t, ExitFailure, got.code)
		require.Contains(t, got.err, "cannot be trusted")
		require.Len(t, files(t, dir), 1, "only the UID")
	})
	t.Run("nobody there", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		sh := at(cluster)
		cluster.Kill(0)
		got := sh.run(t, allocateArgs(t.TempDir(), "a", "1", "teku", "--timeout", "1s")...)
		require.Equal(t, ExitUnknown, got.code)
		require.Contains(t, got.err, "trying again: ")
	})
	t.Run("outcome unknown", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		cluster.Intercept = func(node int, w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPost && refuse(503, "outcome-unknown", "the leader was lost")(node, w, r)
		}
		got := at(cluster).run(t, allocateArgs(t.TempDir(), "a", "1", "teku", "--timeout", "1s")...)
		require.Equal(t, ExitUnknown, got.code)
		require.Contains(t, got.err, "repeating the request is safe")
	})
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		cluster.PendingFor = -1
		ctx, cancel := context.WithCancel(t.Context())
		cluster.Intercept = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
			if len(cluster.Requests()) > 2 {
				cancel()
			}
			return false
		}
		sh := at(cluster)
		sh.ctx = ctx
		dir := t.TempDir()
		got := sh.run(t, allocateArgs(dir, "a", "1", "teku")...)
		require.Equal(t, ExitPending, got.code, got.err)
		require.Len(t, files(t, dir), 1, "only the UID")
	})
	t.Run("folder becomes unusable", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		parent := t.TempDir()
		dir := filepath.Join(parent, "keys")
		cluster.Intercept = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost { // between the checks and the writing
				_ = os.RemoveAll(dir)
				_ = os.WriteFile(dir, []byte("a file"), 0o600)
			}
			return false
		}
		got := at(cluster).run(t, allocateArgs(dir, "a", "1", "teku")...)
		require.Equal(t, ExitFailure, got.code, got.err)
		require.Contains(t, got.err, "not a directory")
		require.Equal(t, map[string]string{"/keys": "a file"}, files(t, parent))
	})
}

func TestNoSecretIsPrinted(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	sh.terminal = true
	got := sh.run(t, allocateArgs(t.TempDir(), "a", "1", "prysm", "--verbose")...)
	require.Zero(t, got.code, got.err)
	require.NotContains(t, got.err+got.out, clienttest.Token)
}

// A projected token of Kubernetes says which pod asks.
func TestAllocateForThePodOfTheToken(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Intercept = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		r.Header.Set("Authorization", "Bearer "+clienttest.Token) // Kubernetes vouched for it
		return false
	}
	file := filepath.Join(t.TempDir(), "token")
	claims := `{"kubernetes.io":{"namespace":"staging","pod":{"name":"web-0","uid":"11111111-2222-4333-8444-555555555555"}}}`
	require.NoError(t, os.WriteFile(file, []byte("eyJ9."+base64.RawURLEncoding.EncodeToString([]byte(claims))+".c2ln"), 0o600))
	args := []string{"allocate", "--keys", "1", "--layout", "teku", "--token-file", file}
	got := at(cluster).run(t, append(args, "--out", t.TempDir())...)
	require.Contains(t, got.out+got.err, "staging/web-0")
	got = at(cluster).run(t, append(args, "--out", t.TempDir(), "--namespace", "other")...)
	require.Contains(t, got.out+got.err, "other/web-0")
	got = at(cluster).run(t, append(args, "--out", t.TempDir(), "--pod", "mine")...)
	require.Contains(t, got.out+got.err, "default/mine")
}
