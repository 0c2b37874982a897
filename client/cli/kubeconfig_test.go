package cli

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

// instantiated is described with the cloud in its clusters.
func instantiated(t *testing.T) (*clienttest.Cluster, shell) {
	t.Helper()
	cluster, sh := described(t)
	sh.do(t, "clouds instantiate shop web --wait")
	return cluster, sh
}

func TestKubeconfigToStandardOutput(t *testing.T) {
	t.Parallel()
	_, sh := instantiated(t)
	config, err := clientcmd.Load([]byte(sh.do(t, "kubeconfig get shop web eu")))
	require.NoError(t, err)
	require.NoError(t, clientcmd.ConfirmUsable(*config, ""))
	require.Equal(t, "alice@eu", config.CurrentContext)
	require.Equal(t, "https://eu.example:6443", config.Clusters["eu"].Server)
	require.NotEmpty(t, config.AuthInfos["alice"].ClientKeyData)

	config, err = clientcmd.Load([]byte(sh.do(t, "kubeconfig get shop web")))
	require.NoError(t, err)
	require.Len(t, config.Contexts, 2)
}

func TestKubeconfigWaits(t *testing.T) {
	t.Parallel()
	cluster, sh := described(t)
	sh.do(t, "clouds instantiate shop web")
	cluster.Await(1, wire.WaitReason{Code: "signer-silent", Message: "it is approved, and the signer is silent"})
	got := sh.run(t, "kubeconfig", "get", "shop", "web", "eu")
	require.Zero(t, got.code, got.err)
	require.Equal(t, "waiting for cluster eu: certificate: it is approved, and the signer is silent (signer-silent)\n", got.err)
	require.Contains(t, got.out, "client-key-data")

	sh.do(t, "clouds rotate-key shop web")
	sh.terminal = true
	got = sh.run(t, "kubeconfig", "get", "shop", "web")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.err, "\r\x1b[Kwaiting for cluster eu and 1 other: certificate: ")
	require.True(t, strings.HasSuffix(got.err, "\r\x1b[K"), "the line is cleared")
}

func TestKubeconfigThatDoesNotCome(t *testing.T) {
	t.Parallel()
	cluster, sh := described(t)
	got := sh.run(t, "kubeconfig", "get", "shop", "web", "eu")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "wrong-state")

	cluster.Await(-1, wire.WaitReason{Code: "cluster-unreachable", Message: "no route"})
	sh.do(t, "clouds instantiate shop web")
	for _, args := range []string{"kubeconfig get shop web eu --no-wait", "kubeconfig get shop web eu --timeout 100ms", "clouds instantiate shop web"} {
		got = sh.run(t, strings.Fields(args)...)
		require.Empty(t, got.out)
		if strings.HasPrefix(args, "clouds") {
			require.Equal(t, ExitFailure, got.code)
			continue
		}
		require.Equal(t, ExitPending, got.code, got.err)
		require.Contains(t, got.err, "cluster eu waits for certificate: no route (cluster-unreachable)")
	}
	got = sh.run(t, "clouds", "update", "shop", "web", "--wait", "--timeout", "200ms")
	require.Equal(t, ExitPending, got.code, got.err)
	require.Contains(t, got.err, "still Instantiating: cluster eu waits for certificate: no route (cluster-unreachable)")

	cluster.Await(0, wire.WaitReason{Code: "denied", Message: "an approver said no"})
	got = sh.run(t, "clouds", "update", "shop", "web", "--wait")
	require.Equal(t, ExitFailure, got.code, got.err)
	require.Contains(t, got.err, "is InstantiateFailed: cluster eu: an approver said no (denied)")
	got = sh.run(t, "kubeconfig", "get", "shop", "web", "eu")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "an approver said no")
}

func TestKubeconfigToAFile(t *testing.T) {
	t.Parallel()
	_, sh := instantiated(t)
	file := filepath.Join(t.TempDir(), "web.kubeconfig")
	for range 2 { // and again, for the next certificate
		got := sh.run(t, "kubeconfig", "get", "shop", "web", "eu", "--out", file)
		require.Zero(t, got.code, got.err)
		require.Empty(t, got.out)
		require.Equal(t, "kubeconfig written to "+file+"; it holds a private key\n", got.err)
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	other := writeFile(t, "dear diary")
	got := sh.run(t, "kubeconfig", "get", "shop", "web", "eu", "--out", other)
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "--force")
	sh.do(t, "kubeconfig get shop web eu --force --out "+other)
}

func TestKubeconfigMerge(t *testing.T) {
	t.Parallel()
	_, sh := instantiated(t)
	require.Equal(t, "alice@eu\n", sh.do(t, "kubeconfig get shop web eu --merge"))
	require.Equal(t, "alice@eu\nalice@us\n", sh.do(t, "kubeconfig get shop web --merge --set-current"))
	config, err := clientcmd.LoadFromFile(sh.env["KUBECONFIG"])
	require.NoError(t, err)
	require.Len(t, config.Contexts, 2)
	require.Equal(t, "alice@eu", config.CurrentContext)
	require.Equal(t, "web", config.Contexts["alice@us"].Namespace)

	// Another cloud with the same user and reference.
	sh.do(t, "clouds create shop other --namespace other --user alice", "clouds references add shop other eu --provider acme",
		"clouds permissions add shop other pods --resources pods --verbs get", "clouds instantiate shop other --wait")
	got := sh.run(t, "kubeconfig", "get", "shop", "other", "eu", "--merge")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, `context "alice@eu" of `+sh.env["KUBECONFIG"])
	require.Contains(t, got.err, "--context NAME")
	require.Equal(t, "other\n", sh.do(t, "kubeconfig get shop other eu --merge --context other"))

	file := filepath.Join(t.TempDir(), "own")
	require.Equal(t, "alice@eu\n", sh.do(t, "kubeconfig get shop web eu --merge --out "+file))
	require.FileExists(t, file)
}

func TestKubeconfigWithThePlugin(t *testing.T) {
	t.Parallel()
	cluster, sh := instantiated(t)
	text := sh.do(t, "kubeconfig get shop web eu --exec")
	require.NotContains(t, text, "PRIVATE")
	require.NotContains(t, text, "key-data")
	config, err := clientcmd.Load([]byte(text))
	require.NoError(t, err)
	run := config.AuthInfos["alice"].Exec
	require.Equal(t, "keysteward", run.Command)
	require.Equal(t, []string{
		"credential", "--project", "shop", "--cloud", "web", "--ref", "eu",
		"--server", strings.Join(cluster.URLs(), ","), "--token-file", sh.env["KEYSTEWARD_TOKEN_FILE"],
	}, run.Args, "the connection that works here, not what the server says")
}

// A server that was taken over must not get kubectl to run anything.
func TestKubeconfigThatRunsSomething(t *testing.T) {
	t.Parallel()
	cluster, sh := instantiated(t)
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/kubeconfig") {
			return false
		}
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write([]byte(`{"current-context":"a","contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}],"clusters":[{"name":"a","cluster":{"server":"https://a"}}],
			"users":[{"name":"a","user":{"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"evil","interactiveMode":"Never"}}}]}`))
		return true
	}
	for _, args := range []string{"kubeconfig get shop web eu", "kubeconfig get shop web eu --merge"} {
		got := sh.run(t, strings.Fields(args)...)
		require.Equal(t, ExitFailure, got.code)
		require.Empty(t, got.out)
		require.Contains(t, got.err, "not safe")
	}
	require.NoFileExists(t, sh.env["KUBECONFIG"])
	require.NotContains(t, sh.do(t, "kubeconfig get shop web eu --exec"), "evil")
}

func TestCloudsStatus(t *testing.T) {
	t.Parallel()
	cluster, sh := instantiated(t)
	golden(t, "cloud-status.golden", sh.do(t, "clouds status shop web"))
	for name, args := range map[string]string{
		"clouds.golden": "clouds list shop", "cloud.golden": "clouds get shop web", "references.golden": "clouds references list shop web",
		"permissions.golden": "clouds permissions list shop web", "kubernetes-clusters.golden": "clouds clusters list acme",
	} {
		golden(t, name, sh.do(t, args))
	}

	ctx, cancel := context.WithCancel(t.Context())
	sh.ctx = ctx
	cluster.Intercept = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/status") {
			time.AfterFunc(50*time.Millisecond, cancel) // once it was shown
		}
		return false
	}
	got := sh.run(t, "clouds", "status", "shop", "web", "--watch")
	require.Zero(t, got.code, got.err)
	require.Equal(t, 1, strings.Count(got.out, "REFERENCE"), "only what changed is shown again")
}
