package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
	"github.com/keysteward/keysteward/client/keystore"
)

// posts counts how often the cluster was asked for keys.
func posts(cluster *clienttest.Cluster) (n int) {
	for _, r := range cluster.Requests() {
		if r.Method == http.MethodPost {
			n++
		}
	}
	return n
}

// Keys in the folder that are no longer the pod's are told before new ones are paid for.
func TestAllocateIntoAFolderWithLostKeys(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	dir := t.TempDir()
	require.Zero(t, sh.run(t, allocateArgs(dir, "a", "1", "teku", "--pod-uid", "1")...).code)
	require.Zero(t, sh.run(t, "release", "--pod", "a").code)
	before, asked := files(t, dir), posts(cluster)
	requireRefused := func(args []string) {
		t.Helper()
		got := sh.run(t, append(args, "--timeout", "1m")...)
		require.Equal(t, ExitFailure, got.code, got.err)
		require.Contains(t, got.err, "must NOT be signed with any more")
		require.Contains(t, got.err, "stop the validator that uses this folder, move the folder away")
		require.Contains(t, got.err, cluster.Key(0).PublicKey().String())
		require.Equal(t, before, files(t, dir))
	}
	requireRefused(allocateArgs(dir, "a", "1", "teku"))
	requireRefused(allocateArgs(dir, "a", "1", "teku", "--pod-uid", "2"))
	require.Equal(t, asked, posts(cluster), "nothing was asked, and paid, for")

	// The pod has got others meanwhile.
	require.Zero(t, sh.run(t, allocateArgs(t.TempDir(), "a", "1", "teku", "--pod-uid", "1")...).code)
	requireRefused(allocateArgs(dir, "a", "2", "teku"))
	require.Equal(t, asked+1, posts(cluster))
}

func TestKeysAreLostWhileTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	dir := t.TempDir()
	require.Zero(t, sh.run(t, allocateArgs(dir, "a", "1", "teku", "--pod-uid", "1")...).code)
	var once atomic.Bool
	cluster.Intercept = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && once.CompareAndSwap(false, true) {
			require.Zero(t, sh.run(t, "release", "--pod", "a").code)
		}
		return false
	}
	got := sh.run(t, allocateArgs(dir, "a", "1", "teku")...)
	require.Equal(t, ExitFailure, got.code, got.err)
	require.Regexp(t, `^keysteward: folder is occupied by other keys: \S+ holds 0x[0-9a-f]{96}: what is in \S+ must NOT be signed with any more[^\n]+\n$`, got.err)
}

// The next pod of a StatefulSet comes to the volume of the one before, whose keys
// rest: it waits for them.
func TestReplacedPodWaitsForTheKeysInItsFolder(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.RestOnRelease = true
	sh := at(cluster)
	dir := t.TempDir()
	require.Zero(t, sh.run(t, allocateArgs(dir, "a", "1", "teku", "--pod-uid", "1")...).code)
	require.Zero(t, sh.run(t, "release", "--pod", "a", "--pod-uid", "1").code)
	asked := posts(cluster)
	ctx, cancel := context.WithCancel(t.Context())
	cluster.Intercept = func(int, http.ResponseWriter, *http.Request) bool {
		if posts(cluster) > asked+1 { // the first was answered
			cancel()
		}
		return false
	}
	patient := sh
	patient.ctx = ctx
	got := patient.run(t, allocateArgs(dir, "a", "1", "teku", "--pod-uid", "2")...)
	require.Equal(t, ExitPending, got.code, got.err)
	require.Contains(t, got.err, "(other-uid)")
	// Its own keys that rest come back.
	got = sh.run(t, allocateArgs(dir, "a", "1", "teku", "--pod-uid", "1")...)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "is already right")
}

func TestRefusedAllocationLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for status, problem := range map[int]string{400: "invalid-field", 401: "unauthenticated", 403: "forbidden", 404: "not-found", 422: "too-many-keys"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			cluster := clienttest.Start(t, 1)
			cluster.Intercept = func(node int, w http.ResponseWriter, r *http.Request) bool {
				return r.Method == method && refuse(status, problem, "no")(node, w, r)
			}
			parent, ours := t.TempDir(), t.TempDir()
			got := at(cluster).run(t, allocateArgs(filepath.Join(parent, "made", "keys"), "a", "1", "teku")...)
			require.Equal(t, ExitFailure, got.code, got.err)
			require.NoDirExists(t, filepath.Join(parent, "made"))

			// What an earlier run wrote down stays.
			name := filepath.Join(ours, keystore.PodUIDFile)
			require.NoError(t, os.WriteFile(name, []byte("1\ndefault/a\n"), 0o600))
			for _, more := range [][]string{nil, {"--pod-uid", "2"}} {
				got = at(cluster).run(t, allocateArgs(ours, "a", "1", "teku", more...)...)
				require.Equal(t, ExitFailure, got.code, got.err)
				require.Equal(t, map[string]string{"/" + keystore.PodUIDFile: "1\ndefault/a\n"}, files(t, ours))
			}
		}
	}
}

// Where something may have been asked for the UID has to be kept.
func TestRefusalAfterAnUncertainTryKeepsTheUID(t *testing.T) {
	t.Parallel()
	t.Run("an answer was lost", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 2)
		cluster.Intercept = func(node int, w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			if node == 0 {
				panic(http.ErrAbortHandler)
			}
			return refuse(http.StatusForbidden, "forbidden", "no")(node, w, r)
		}
		dir := t.TempDir()
		got := at(cluster).run(t, allocateArgs(dir, "a", "1", "teku")...)
		require.Equal(t, ExitFailure, got.code, got.err)
		require.Len(t, files(t, dir), 1, "the UID")
	})
	t.Run("keys were on their way", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		cluster.PendingFor = -1
		var n atomic.Int32
		cluster.Intercept = func(node int, w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPost && n.Add(1) > 1 && refuse(http.StatusForbidden, "forbidden", "no")(node, w, r)
		}
		dir := t.TempDir()
		got := at(cluster).run(t, allocateArgs(dir, "a", "1", "teku")...)
		require.Equal(t, ExitFailure, got.code, got.err)
		require.Len(t, files(t, dir), 1, "the UID")
	})
}

func TestUndoneClaimOfAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mine, err := claimFolder(dir, "default", "a", "1")
	require.NoError(t, err)
	_, err = claimFolder(dir, "default", "a", "2")
	require.NoError(t, err)
	mine.undo()
	require.Equal(t, "2\ndefault/a\n", files(t, dir)["/"+keystore.PodUIDFile])
}

func TestFolderKeepsKDFAndPassword(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	dir := t.TempDir()
	password := writeFile(t, "first\n")
	base := allocateArgs(dir, "a", "1", "teku", "--pod-uid", "u", "--password-file", password)
	require.Zero(t, sh.run(t, base...).code)
	tests := []struct {
		args []string
		says string
	}{
		{nil, ""},
		{[]string{"--kdf", "pbkdf2"}, ""},
		{[]string{"--kdf", "scrypt"}, "keeps the key derivation of the keystores that were there already"},
		{[]string{"--password-file", writeFile(t, "second")}, "keeps the password of the keystores"},
		{[]string{"--kdf", "scrypt", "--password-file", writeFile(t, "second")}, "keeps the key derivation and password of"},
	}
	for _, test := range tests {
		got := sh.run(t, append(base[:len(base):len(base)], test.args...)...)
		require.Zero(t, got.code, got.err)
		require.Contains(t, got.out, "is already right")
		if test.says == "" {
			require.Empty(t, got.err)
			continue
		}
		require.Regexp(t, `^\S+ `+test.says+`[^\n]*move the folder away, and run this again with --pod-uid u\n$`, got.err)
	}
}

// A server that was given an old state, or another cluster behind the same address,
// is found out by a later run too.
func TestOldAnswersAreRefusedByLaterRuns(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	fence := int64(9)
	cluster.Tamper = func(outer *wire.Allocation, inner *wire.AllocationSecrets) { outer.Fence, inner.Fence = fence, fence }
	sh, dir := at(cluster), t.TempDir()
	args := allocateArgs(dir, "a", "1", "teku")
	require.Zero(t, sh.run(t, args...).code)
	before := files(t, dir)
	fence = 8
	got := sh.run(t, args...)
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "its fence is 8, and 9 was seen before")
	require.Equal(t, before, files(t, dir))
	fence = 10
	require.Zero(t, sh.run(t, args...).code)
	fence = 9
	require.Equal(t, ExitFailure, sh.run(t, args...).code)

	other := clienttest.Start(t, 1)
	other.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v1/cluster" {
			require.NoError(t, json.NewEncoder(w).Encode(wire.Cluster{ClusterID: "another"}))
		}
		return r.URL.Path == "/v1/cluster"
	}
	got = at(other).run(t, args...)
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, `it comes from cluster "another", earlier ones from "b3f0c1de-test"`)
	require.Zero(t, posts(other), "nothing was asked, and paid, for")
}

func FuzzParseClaim(f *testing.F) {
	for _, text := range []string{"", "u\n", "u\nns/p", "u\nns/p\n", "u\nns/p\nc 7\n", "u\nns/p\nc -7", "u\nns/p\nc", "u\nns/p\nc 7\nx"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := parseClaim(text)
		if !ok {
			return
		}
		again, ok := parseClaim(c.text())
		require.True(t, ok)
		require.Equal(t, c, again)
	})
}
