package cli

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

func TestKeysRetire(t *testing.T) {
	t.Parallel()
	cluster := stocked(t)
	sh := at(cluster)
	key := cluster.Key(1).PublicKey().String()
	got := sh.run(t, "keys", "retire", key, "--reason", "stolen")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "409 key-in-use")
	require.Contains(t, got.err, "--help says what --force would do")
	got = sh.run(t, "keys", "retire", key, "--reason", "stolen", "--force")
	require.Zero(t, got.code, got.err)
	require.Equal(t, key+" is retired (operator: stolen)\n", got.out)
	got = sh.run(t, "keys", "retire", key, "--reason", "stolen", "--force", "-q")
	require.Zero(t, got.code, got.err)
	require.Empty(t, got.out)
}

func TestKeysRetireAsksNobodyAboutMistakes(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	key := "0x" + zeros(96)
	for _, args := range [][]string{{key}, {"--reason", "x"}, {"0x12", "--reason", "x"}, {key, key, "--reason", "x"}, {key, "--reason", ""}} {
		got := at(cluster).run(t, append([]string{"keys", "retire"}, args...)...)
		require.Equal(t, ExitUsage, got.code, "%v: %s", args, got.err)
	}
	require.Empty(t, cluster.Requests())
	got := at(cluster).run(t, "keys", "retire", key, "--reason", "x")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "not-found")
}

func TestValidatorsAreShownWithTheirKeys(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	index := int64(0)
	key := wire.Key{
		Pubkey: "0x" + zeros(96), State: wire.KeyStateRetired, RetiredReason: "exited", RetiredDetail: "exited_unslashed",
		ValidatorStatus: "withdrawal_done", ValidatorIndex: &index, EffectiveBalanceGwei: 31_000_000_000,
	}
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		var shown any = key
		if r.URL.Path == "/v1/keys" {
			shown = wire.KeyPage{Keys: []wire.Key{key}, Counts: map[string]int64{"retired": 1}}
		}
		require.NoError(t, json.NewEncoder(w).Encode(shown))
		return true
	}
	out := at(cluster).run(t, "keys", "show", key.Pubkey).out
	for _, want := range []string{"exited: exited_unslashed", "withdrawal_done, index 0", "31000000000"} {
		require.Contains(t, out, want)
	}
	require.Contains(t, at(cluster).run(t, "keys", "list").out, "withdrawal_done")
}

func TestAllocateIntoAFolderWithRetiredKeys(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]struct{ says, file string }{
		"exited":   {"1 key of validators that are over, left in", "there"},
		"operator": {"1 key removed from", "gone"},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 1)
			sh, dir := at(cluster), filepath.Join(t.TempDir(), "out")
			args := allocateArgs(dir, "validator-0", "2", "lighthouse")
			require.Zero(t, sh.run(t, args...).code)
			over := cluster.Key(0).PublicKey().String()
			cluster.Retire(over, reason, "")
			got := sh.run(t, args...)
			require.Zero(t, got.code, got.err)
			require.Contains(t, got.out, want.says)
			require.Contains(t, got.out, "holds 2 keys")
			for i, there := range []bool{want.file == "there", true, true} {
				name := filepath.Join(dir, "validators", cluster.Key(uint64(i)).PublicKey().String(), "voting-keystore.json")
				if there {
					require.FileExists(t, name)
				} else {
					require.NoFileExists(t, name)
				}
			}
			got = sh.run(t, args...)
			require.Zero(t, got.code, got.err)
			require.Contains(t, got.out, "is already right")
		})
	}
}
