package kubeconfig_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/keysteward/keysteward/node/kubernetes/kubeconfig"
)

func entry(reference string, of pems) kubeconfig.Entry {
	return kubeconfig.Entry{
		Reference:   reference,
		Cluster:     kubeconfig.Public{Server: "https://" + reference + ":6443", TLSServerName: "kubernetes", CA: authority().certificate},
		Certificate: of.certificate, Key: of.key,
	}
}

func load(t *testing.T, text []byte) *clientcmdapi.Config {
	t.Helper()
	config, err := clientcmd.Load(text)
	require.NoError(t, err)
	require.NoError(t, clientcmd.Validate(*config))
	return config
}

func TestRenderOne(t *testing.T) {
	t.Parallel()
	text, err := kubeconfig.Render("alice", "team-a", []kubeconfig.Entry{entry("east", alice())})
	require.NoError(t, err)
	config := load(t, text)
	require.Equal(t, "alice@east", config.CurrentContext)
	context := config.Contexts["alice@east"]
	require.Equal(t, "east", context.Cluster)
	require.Equal(t, "alice", context.AuthInfo)
	require.Equal(t, "team-a", context.Namespace)
	require.Equal(t, "https://east:6443", config.Clusters["east"].Server)
	require.Equal(t, "kubernetes", config.Clusters["east"].TLSServerName)
	require.Equal(t, authority().certificate, config.Clusters["east"].CertificateAuthorityData)
	require.Equal(t, alice().certificate, config.AuthInfos["alice"].ClientCertificateData)
	require.Equal(t, alice().key, config.AuthInfos["alice"].ClientKeyData)

	usable, err := clientcmd.RESTConfigFromKubeConfig(text)
	require.NoError(t, err)
	require.Equal(t, "https://east:6443", usable.Host)
}

func TestRenderSeveral(t *testing.T) {
	t.Parallel()
	entries := []kubeconfig.Entry{entry("west", bob()), entry("east", alice())}
	text, err := kubeconfig.Render("a@b", "team-a", entries)
	require.NoError(t, err)
	config := load(t, text)
	require.Equal(t, "a@b@west", config.CurrentContext, "that of the first reference")
	require.Len(t, config.Clusters, 2)
	for name, of := range map[string]pems{"west": bob(), "east": alice()} {
		context := config.Contexts["a@b@"+name]
		require.Equal(t, name, context.Cluster)
		require.Equal(t, of.key, config.AuthInfos[context.AuthInfo].ClientKeyData)
	}
	for range 20 {
		again, err := kubeconfig.Render("a@b", "team-a", entries)
		require.NoError(t, err)
		require.Equal(t, string(text), string(again))
	}
}

// What Render writes for a registered cluster with awkward names is read again by kubectl.
func TestRenderAwkwardNames(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"null", "- x: y", "{}", "ünïcode", "a b", "*", "&a", "'", `"`, "1e3"} {
		text, err := kubeconfig.Render(user, "n", []kubeconfig.Entry{entry("0x10", alice())})
		require.NoError(t, err)
		config := load(t, text)
		require.Equal(t, user, config.Contexts[user+"@0x10"].AuthInfo)
		require.Contains(t, config.AuthInfos, user)
	}
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	change := func(do func(*kubeconfig.Entry)) []kubeconfig.Entry {
		e := entry("east", alice())
		do(&e)
		return []kubeconfig.Entry{e}
	}
	for name, c := range map[string]struct {
		user, namespace string
		entries         []kubeconfig.Entry
	}{
		"no entry":          {"alice", "n", nil},
		"no user":           {"", "n", change(func(*kubeconfig.Entry) {})},
		"no reference":      {"alice", "n", change(func(e *kubeconfig.Entry) { e.Reference = "" })},
		"a reference twice": {"alice", "n", []kubeconfig.Entry{entry("east", alice()), entry("east", bob())}},
		"no certificate":    {"alice", "n", change(func(e *kubeconfig.Entry) { e.Certificate = nil })},
		"no key":            {"alice", "n", change(func(e *kubeconfig.Entry) { e.Key = nil })},
		"another's key":     {"alice", "n", change(func(e *kubeconfig.Entry) { e.Key = bob().key })},
		"no PEM":            {"alice", "n", change(func(e *kubeconfig.Entry) { e.Certificate = []byte("x") })},
		"no server":         {"alice", "n", change(func(e *kubeconfig.Entry) { e.Cluster.Server = "" })},
		"a bad namespace":   {"alice", "a/b", change(func(*kubeconfig.Entry) {})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := kubeconfig.Render(c.user, c.namespace, c.entries)
			require.ErrorIs(t, err, kubeconfig.ErrRender)
			require.Empty(t, text)
			requireHides(t, err.Error())
		})
	}
}

func TestRenderExec(t *testing.T) {
	t.Parallel()
	plugin := kubeconfig.Plugin{Project: "p", Cloud: "c", Args: []string{"--server", "https://k:8443"}}
	entries := []kubeconfig.Entry{entry("east", alice()), entry("west", bob())}
	text, err := kubeconfig.RenderExec("alice", "team-a", plugin, entries)
	require.NoError(t, err)
	requireHides(t, string(text))
	require.NotContains(t, string(text), "client-")
	config := load(t, text)
	require.Equal(t, "alice@east", config.CurrentContext)
	for _, reference := range []string{"east", "west"} {
		exec := config.AuthInfos["alice@"+reference].Exec
		require.Equal(t, "keysteward", exec.Command)
		require.Equal(t, []string{"credential", "--project", "p", "--cloud", "c", "--ref", reference, "--server", "https://k:8443"}, exec.Args)
		require.Equal(t, "client.authentication.k8s.io/v1", exec.APIVersion)
		require.Equal(t, clientcmdapi.NeverExecInteractiveMode, exec.InteractiveMode)
		require.Contains(t, exec.InstallHint, "PATH")
	}

	one, err := kubeconfig.RenderExec("alice", "team-a", plugin, entries[:1])
	require.NoError(t, err)
	require.Equal(t, "alice", load(t, one).Contexts["alice@east"].AuthInfo)

	_, err = kubeconfig.RenderExec("alice", "team-a", kubeconfig.Plugin{Project: "p"}, entries)
	require.ErrorIs(t, err, kubeconfig.ErrRender)
	_, err = kubeconfig.RenderExec("alice", "team-a", plugin, nil)
	require.ErrorIs(t, err, kubeconfig.ErrRender)
}
