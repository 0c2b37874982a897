package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/cli"
)

// sealID runs keysteward server seal-id.
func sealID(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	root := cli.New("test")
	root.AddCommand(newServerCommand())
	var out, errs bytes.Buffer
	root.SetArgs(append([]string{"server", "seal-id"}, args...))
	root.SetOut(&out)
	root.SetErr(&errs)
	return cli.Run(t.Context(), root), out.String(), errs.String()
}

func TestSealID(t *testing.T) {
	t.Parallel()
	folder, err := os.MkdirTemp("", "ks") //nolint:usetesting // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	file, phrase, socket := filepath.Join(folder, "kek"), filepath.Join(folder, "phrase"), filepath.Join(folder, "tpm")
	require.NoError(t, os.WriteFile(file, bytes.Repeat([]byte("ab"), 32), 0o600))
	require.NoError(t, os.WriteFile(phrase, []byte("correct horse battery staple"), 0o600))
	tpm := exec.CommandContext(t.Context(), "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+folder,
		"--server", "type=unixio,path="+socket, "--flags", "not-need-init,startup-clear")
	require.NoError(t, tpm.Start(), "this test needs swtpm: scripts/apt-install swtpm swtpm")
	t.Cleanup(func() { _ = tpm.Process.Kill(); _ = tpm.Wait() })
	require.Eventually(t, func() bool {
		info, err := os.Stat(socket)
		return err == nil && info.Mode()&os.ModeSocket != 0
	}, 20*time.Second, 5*time.Millisecond)

	code, out, errs := sealID(t, "--seal", "file:"+file, "--seal", "tpm:unix:"+socket)
	require.Zero(t, code, errs)
	require.Regexp(t, `^file:[0-9a-f]{16}\ntpm:[0-9a-f]{64}\n$`, out)

	code, out, _ = sealID(t, "--seal", "passphrase:"+phrase, "--cluster-id", "c0ffee")
	require.Zero(t, code)
	require.Equal(t, "passphrase:ef47882a012ba64a\n", out, "as package seal has it")

	code, out, errs = sealID(t, "--seal", "passphrase:"+phrase+",file:"+file)
	require.NotZero(t, code, "a passphrase needs the cluster's ID")
	require.Contains(t, errs, "--cluster-id is required")
	require.Contains(t, out, "file:", "the others are told all the same")

	for want, args := range map[string][]string{"--seal is required": nil, "want file:/PATH": {"--seal", "horse"}} {
		code, _, errs = sealID(t, args...)
		require.NotZero(t, code)
		require.Contains(t, errs, want)
		require.NotContains(t, errs, "horse")
	}
}
