package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/clienttest"
)

func TestHoldWantsToKnowWhatItHolds(t *testing.T) {
	t.Parallel()
	sh := at(clienttest.Start(t, 1))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--memory", "m"}, "which pod?"},
		{[]string{"--pod", "p", "--pod-uid", "u"}, "--memory is required"},
		{[]string{"--pod", "p", "--pod-uid", "u", "--memory", "m", "--grace", "-1s"}, "not negative"},
		{[]string{"--pod", "P", "--pod-uid", "u", "--memory", "m"}, "pod"},
	} {
		got := sh.run(t, append([]string{"hold"}, c.args...)...)
		require.Equal(t, ExitUsage, got.code, got.err)
		require.Contains(t, got.err, c.want)
	}
}

// Outside of a pod it would end the processes of the whole machine.
func TestHoldIsForPodsOnly(t *testing.T) {
	t.Parallel()
	namespace, err := os.Readlink("/proc/self/ns/pid")
	require.NoError(t, err)
	if namespace != "pid:[4026531836]" {
		t.Log("this is a container: what is refused is only its own process 1")
	}
	sh := at(clienttest.Start(t, 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // where it is let in, it ends at once
	sh.ctx = ctx
	got := sh.run(t, "hold", "--pod", "p", "--pod-uid", "u", "--memory", filepath.Join(t.TempDir(), "m"), "--health", "127.0.0.1:0")
	if namespace == "pid:[4026531836]" {
		require.Equal(t, ExitFailure, got.code)
		require.Contains(t, got.err, "the whole machine")
	}
}

func TestAllocateWritesSlashingProtection(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	dir := t.TempDir()
	name := filepath.Join(dir, "protection.json")
	got := at(cluster).run(t, allocateArgs(filepath.Join(dir, "keys"), "a", "1", "teku", "--slashing-protection", name)...)
	require.Zero(t, got.code, got.err)
	var f struct {
		Data []struct {
			Pubkey       string
			SignedBlocks []struct{ Slot string } `json:"signed_blocks"`
		}
	}
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &f))
	require.Len(t, f.Data, 1)
	require.Equal(t, cluster.Key(0).PublicKey().String(), f.Data[0].Pubkey)
	require.Regexp(t, `^[1-9][0-9]{6,}$`, f.Data[0].SignedBlocks[0].Slot, "the slot of our clock")
}
