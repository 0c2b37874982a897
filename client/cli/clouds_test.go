package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

// selfSigned makes a certificate with its key, PEM.
func selfSigned(t *testing.T, name string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// adminKubeconfig writes a kubeconfig whose context "admin" refers to files beside it,
// and whose current context is another one. It returns its path.
func adminKubeconfig(t *testing.T, server string, ca []byte) string {
	t.Helper()
	folder := t.TempDir()
	certificate, key := selfSigned(t, "admin")
	if ca == nil {
		ca = certificate
	}
	for name, text := range map[string][]byte{"ca.pem": ca, "admin.pem": certificate, "admin.key": key} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), text, 0o600))
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["here"] = &clientcmdapi.Cluster{Server: server, CertificateAuthority: "ca.pem"}
	config.AuthInfos["me"] = &clientcmdapi.AuthInfo{ClientCertificate: "admin.pem", ClientKey: "admin.key"}
	config.Contexts["admin"] = &clientcmdapi.Context{Cluster: "here", AuthInfo: "me"}
	config.AuthInfos["program"] = &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{APIVersion: "client.authentication.k8s.io/v1", Command: "evil", InteractiveMode: "Never"}}
	config.Contexts["other"] = &clientcmdapi.Context{Cluster: "here", AuthInfo: "program"}
	config.CurrentContext = "other"
	path := filepath.Join(folder, "config")
	require.NoError(t, clientcmd.WriteToFile(*config, path))
	return path
}

// do runs commands that succeed, and returns what the last one wrote.
func (s shell) do(t *testing.T, lines ...string) string {
	t.Helper()
	var got said
	for _, line := range lines {
		got = s.run(t, strings.Fields(line)...)
		require.Zero(t, got.code, "%s: %s", line, got.err)
	}
	return got.out
}

// described is a cluster with a logical cloud shop/web in eu and us that has not begun.
func described(t *testing.T) (*clienttest.Cluster, shell) {
	t.Helper()
	cluster := clienttest.Start(t, 2)
	cluster.Lead(1)
	sh := at(cluster)
	sh.env["XDG_CACHE_HOME"] = t.TempDir()
	sh.env["KUBECONFIG"] = filepath.Join(t.TempDir(), "kube", "config")
	sh.do(t,
		"clouds providers create acme",
		"clouds clusters register acme eu --context admin --kubeconfig "+adminKubeconfig(t, "https://eu.example:6443", nil),
		"clouds clusters register acme us --context admin --kubeconfig "+adminKubeconfig(t, "https://us.example:6443", nil),
		"clouds projects create shop",
		"clouds create shop web --namespace web --user alice --label team=web,tier=1 --expiration 90d --key-algorithm ed25519",
		"clouds references add shop web eu --provider acme --cluster eu",
		"clouds references add shop web us --provider acme",
		"clouds permissions add shop web pods --resources pods,pods/log --verbs get,list",
	)
	return cluster, sh
}

func TestCloudFromRegisterToDelete(t *testing.T) {
	t.Parallel()
	cluster, sh := described(t)
	require.Equal(t, "https://eu.example:6443", cluster.Registered("acme", "eu").Server)
	require.NotEmpty(t, cluster.Registered("acme", "eu").CA, "read from the file beside the kubeconfig")

	var cloud wire.LogicalCloud
	require.NoError(t, json.Unmarshal([]byte(sh.do(t, "clouds get shop web -o json")), &cloud))
	require.Equal(t, wire.LogicalCloudSpec{
		Namespace: "web", User: wire.CloudUser{UserName: "alice"}, Labels: map[string]string{"team": "web", "tier": "1"},
		KeyAlgorithm: wire.KeyAlgorithmEd25519, ExpirationSeconds: 90 * 24 * 3600,
	}, cloud.Spec)

	cluster.Await(2, wire.WaitReason{Code: "csr-pending-approval", Message: "it is to be approved"})
	got := sh.run(t, "clouds", "instantiate", "shop", "web", "--wait")
	require.Zero(t, got.code, got.err)
	require.Equal(t, "logical cloud shop/web is Instantiated\n", got.out)
	require.Contains(t, got.err, "eu: waiting for certificate: it is to be approved (csr-pending-approval)\n")
	require.Contains(t, got.err, "us: ready\n")

	sh.do(t, "clouds rotate-key shop web --wait", "clouds update shop web --wait")
	got = sh.run(t, "clouds", "delete", "shop", "web")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "wrong-state")
	require.Contains(t, sh.do(t, "clouds terminate shop web --wait"), "is Terminated")
	sh.do(t, "clouds delete shop web", "clouds projects delete shop", "clouds clusters delete acme eu", "clouds clusters delete acme us", "clouds providers delete acme")
	require.JSONEq(t, "[]", sh.do(t, "clouds projects list -o json"))
}
