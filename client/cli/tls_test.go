package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/pki"
)

func TestTLSInit(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certificates")
	got := shell{}.run(t, "tls", "init", "--out", dir, "--nodes", "n1=n1.example,10.0.0.1,n2=n2.example", "--api-names", "localhost", "--client", "alice=admin,bob")
	require.Zero(t, got.code, got.err)
	for _, want := range []string{
		"made the authorities in " + filepath.Join(dir, "ca"),
		"n1 (n1.example, 10.0.0.1): put " + filepath.Join(dir, "nodes", "n1"),
		"--raft-tls-ca " + filepath.Join(dir, "nodes", "n2", "raft-ca.crt"),
		"alice (role admin)", "bob (role viewer)", "--client-key " + filepath.Join(dir, "clients", "bob.key"),
	} {
		require.Contains(t, got.out, want)
	}
	require.NotContains(t, got.out, "PRIVATE KEY")
	before, err := os.ReadFile(filepath.Join(dir, "ca", "raft.key"))
	require.NoError(t, err)

	// A node is added, and an authority stays as it is.
	got = shell{}.run(t, "tls", "init", "--out", dir, "--nodes", "n3=n3.example", "--ca-lifetime", "1h")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "used the authorities")
	after, err := os.ReadFile(filepath.Join(dir, "ca", "raft.key"))
	require.NoError(t, err)
	require.Equal(t, before, after)

	got = shell{}.run(t, "tls", "client", "carol", "--out", dir, "--role", "operator", "--lifetime", "24h")
	require.Zero(t, got.code, got.err)
	require.FileExists(t, filepath.Join(dir, "clients", "carol.key"))

	got = shell{}.run(t, "tls", "show", dir)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "CN=carol,O=keysteward:operator")
	require.Contains(t, got.out, "n1.example 10.0.0.1")
	got = shell{}.run(t, "tls", "show", filepath.Join(dir, "clients", "alice.crt"), "-o", "json")
	require.Zero(t, got.code, got.err)
	var list []pki.Found
	require.NoError(t, json.Unmarshal([]byte(got.out), &list))
	require.Equal(t, []string{"client"}, list[0].Uses)
}

func TestTLSMistakes(t *testing.T) {
	t.Parallel()
	made := t.TempDir()
	require.Zero(t, shell{}.run(t, "tls", "init", "--out", made, "--nodes", "n1=a.example").code)
	for args, says := range map[string]string{
		"tls init --nodes n1=a":                                "--out is required",
		"tls init --out DIR":                                   "--nodes is required",
		"tls init --out DIR --nodes n1":                        `--nodes: unusable name: "n1": want NAME=HOST`,
		"tls init --out DIR --nodes n1=a:1":                    `host "a:1"`,
		"tls init --out DIR --nodes n1=a --client a=root":      `--client: unusable name: role "root"`,
		"tls init --out DIR --nodes n1=a --lifetime 0s":        "--lifetime 0s",
		"tls init --out DIR --nodes n1=a --api-names a:1":      `host "a:1"`,
		"tls init --out DIR --nodes n1=a --domains *":          `host "*"`,
		"tls init --out " + made + " --nodes n2=a --domains a": "--domains: the authorities in " + made + " are there already",
		"tls client --out DIR":                                 "tls client needs a name, got none",
		"tls client a --out DIR --role root":                   `role "root"`,
		"tls client a":                                         "--out is required",
		"tls client a --out " + made + " --lifetime -1h":       "--lifetime -1h",
		"tls show": "tls show needs a folder or file",
		"keys list --server https://127.0.0.1:1 --client-cert x":               "--client-cert and --client-key go together",
		"keys list --server http://127.0.0.1:1 --client-cert x --client-key y": "nobody can show a certificate without https",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			got := shell{}.run(t, strings.Fields(strings.ReplaceAll(args, "DIR", filepath.Join(t.TempDir(), "d")))...)
			require.Equal(t, ExitUsage, got.code, got.err)
			require.Contains(t, got.err, says)
		})
	}
	got := shell{}.run(t, "tls", "client", "a", "--out", t.TempDir())
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "keysteward tls init makes it")
	got = shell{}.run(t, "keys", "list", "--server", "https://127.0.0.1:1", "--client-cert", "/nonexistent", "--client-key", "/nonexistent")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "unusable client certificate")
	require.Equal(t, ExitFailure, shell{}.run(t, "tls", "show", t.TempDir()+"/nothing").code)
}
