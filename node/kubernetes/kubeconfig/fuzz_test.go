package kubeconfig_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/keysteward/keysteward/node/kubernetes/kubeconfig"
)

// FuzzParse: whatever is accepted is written anew to the same, and neither reads files
// nor runs programs.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good().String()))
	f.Add([]byte(b64([]byte(good().String()))))
	f.Add([]byte(withUser("token: " + token + "\n")))
	f.Add([]byte(withCluster("server: https://[::1]:6443/a?b#c\n    proxy-url: http://a\n")))
	f.Add([]byte(`{"current-context":"a","contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}],"clusters":[{"name":"a","cluster":{"server":"https://a"}}],"users":[{"name":"a","user":{"token":"a"}}]}`))
	f.Add([]byte("a: &a [b, b]\nc: [*a, *a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cluster, err := kubeconfig.Parse(data)
		if err != nil {
			var refused *kubeconfig.Refused
			require.ErrorAs(t, err, &refused)
			return
		}
		again, err := kubeconfig.Parse(cluster.Canonical())
		require.NoError(t, err)
		require.Equal(t, cluster, again)

		config, err := clientcmd.Load(cluster.Canonical())
		require.NoError(t, err)
		require.NoError(t, clientcmd.ConfirmUsable(*config, ""))
		for _, path := range clientcmd.GetConfigFileReferences(config) {
			require.Empty(t, *path)
		}
		for _, user := range config.AuthInfos {
			require.Nil(t, user.Exec)
			require.Nil(t, user.AuthProvider)
		}
		for _, c := range config.Clusters {
			require.Empty(t, c.ProxyURL)
			require.False(t, c.InsecureSkipTLSVerify)
		}
		_, err = cluster.Config()
		require.NoError(t, err)
	})
}
