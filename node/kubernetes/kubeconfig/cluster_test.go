package kubeconfig_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/keysteward/keysteward/node/kubernetes/kubeconfig"
)

func parse(t *testing.T, text string) kubeconfig.Cluster {
	t.Helper()
	cluster, err := kubeconfig.Parse([]byte(text))
	require.NoError(t, err)
	return cluster
}

func TestCanonicalKeepsOnlyTheCurrentContext(t *testing.T) {
	t.Parallel()
	cluster := parse(t, good().String())
	text := string(cluster.Canonical())
	for _, dropped := range []string{"other", "evil", "/etc", "exec", "namespace", "elsewhere", "here"} {
		require.NotContains(t, text, dropped)
	}
	config, err := clientcmd.Load(cluster.Canonical())
	require.NoError(t, err)
	require.NoError(t, clientcmd.ConfirmUsable(*config, ""))
	require.Len(t, config.Clusters, 1)
	require.Len(t, config.AuthInfos, 1)

	copied := cluster.Canonical()
	clear(copied)
	require.Equal(t, text, string(cluster.Canonical()), "the caller clears a copy")
}

func TestPublicDropsWhatStandsBetweenCertificates(t *testing.T) {
	t.Parallel()
	headed := strings.Replace(string(authority().certificate), "\n", "\nKey: "+token+"\n\n", 1)
	ca := "chatter\n" + headed + "more " + token + "\n" + string(bob().certificate)
	cluster := parse(t, withCluster("server: https://a\n    certificate-authority-data: "+b64([]byte(ca))+"\n"))
	require.Equal(t, string(authority().certificate)+string(bob().certificate), string(cluster.CA))
}

func TestNotAfter(t *testing.T) {
	t.Parallel()
	require.Equal(t, notAfter, parse(t, good().String()).NotAfter())
	require.Zero(t, parse(t, withUser("token: "+token+"\n")).NotAfter())
	require.Zero(t, kubeconfig.Cluster{}.NotAfter())
}

func TestConfigOwesNothingToTheEnvironment(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	t.Setenv("KUBECONFIG", "/nowhere")
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.9.9.9")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")

	config, err := parse(t, withCluster(good().cluster+"    tls-server-name: kubernetes\n")).Config()
	require.NoError(t, err)
	proxy, err := config.Proxy(nil)
	require.NoError(t, err)
	require.Nil(t, proxy)
	config.Proxy = nil
	require.Equal(t, &rest.Config{
		Host: "https://10.0.0.1:6443",
		TLSClientConfig: rest.TLSClientConfig{
			ServerName: "kubernetes", CAData: authority().certificate,
			CertData: alice().certificate, KeyData: alice().key,
		},
	}, config)

	config, err = parse(t, withUser("token: |\n      "+token+"\n")).Config()
	require.NoError(t, err)
	require.Equal(t, token, config.BearerToken)
	require.Empty(t, config.KeyData)

	_, err = kubeconfig.Cluster{}.Config()
	require.ErrorIs(t, err, kubeconfig.ErrEmpty)
	require.Nil(t, kubeconfig.Cluster{}.Canonical())
}

// A person may register a certificate that has expired: the duty says so when it asks.
func TestExpiredIsAccepted(t *testing.T) {
	t.Parallel()
	require.True(t, parse(t, good().String()).NotAfter().Before(time.Now()))
}

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	cluster := parse(t, withUser(good().user+"    token: "+token+"\n"))
	entry := kubeconfig.Entry{Reference: "r", Cluster: cluster.Public, Certificate: alice().certificate, Key: alice().key}
	for name, value := range map[string]any{
		"cluster": cluster, "pointer": &cluster, "inside": struct{ inner kubeconfig.Cluster }{cluster},
		"list": []kubeconfig.Cluster{cluster}, "entry": entry, "entries": []kubeconfig.Entry{entry},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				requireHides(t, fmt.Sprintf(verb, value))
				require.NotContains(t, fmt.Sprintf(verb, value), fmt.Sprintf("%x", token))
			}
			var log bytes.Buffer
			slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", value)
			slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", value)
			requireHides(t, log.String())
			text, err := json.Marshal(value)
			require.NoError(t, err)
			requireHides(t, string(text))
		})
	}
	require.Contains(t, cluster.String(), "https://10.0.0.1:6443")
}
