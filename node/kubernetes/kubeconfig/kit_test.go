package kubeconfig_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	notBefore = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	notAfter  = time.Date(2026, 1, 9, 3, 4, 5, 0, time.UTC)
)

// pems is a certificate and its key, in PEM.
type pems struct{ certificate, key []byte }

// mint makes a certificate that signed itself.
func mint(name string) pems {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: notBefore, NotAfter: notAfter, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pems{block("CERTIFICATE", der), block("PRIVATE KEY", private)}
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

var (
	authority = sync.OnceValue(func() pems { return mint("authority") })
	alice     = sync.OnceValue(func() pems { return mint("alice") })
	bob       = sync.OnceValue(func() pems { return mint("bob") })
)

func b64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

const token = "s3cr3t-t0ken"

// config is a kubeconfig of which each part can be replaced.
type config struct{ head, context, cluster, user string }

func good() config {
	return config{
		head:    "apiVersion: v1\nkind: Config\ncurrent-context: here\n",
		context: "cluster: c\n    user: u\n    namespace: default\n",
		cluster: "server: https://10.0.0.1:6443\n    certificate-authority-data: " + b64(authority().certificate) + "\n",
		user:    "client-certificate-data: " + b64(alice().certificate) + "\n    client-key-data: " + b64(alice().key) + "\n",
	}
}

func withCluster(cluster string) string {
	c := good()
	c.cluster = cluster
	return c.String()
}

func withUser(user string) string {
	c := good()
	c.user = user
	return c.String()
}

func (c config) String() string {
	return c.head +
		"contexts:\n- name: here\n  context:\n    " + c.context +
		"- name: elsewhere\n  context:\n    cluster: other\n    user: runs\n" +
		"clusters:\n- name: c\n  cluster:\n    " + c.cluster +
		"- name: other\n  cluster:\n    server: http://other\n    certificate-authority: /etc/shadow\n" +
		"users:\n- name: u\n  user:\n    " + c.user +
		"- name: runs\n  user:\n    exec:\n      apiVersion: client.authentication.k8s.io/v1\n      command: evil\n      interactiveMode: Never\n    tokenFile: /etc/shadow\n"
}

// requireHides fails when a text shows a secret of the kit.
func requireHides(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{token, b64(alice().key), string(alice().key), b64(bob().key), "PRIVATE", "passw0rd"} {
		require.NotContains(t, text, secret)
	}
	// The middle of a key, however it is broken into lines.
	body := strings.Split(string(alice().key), "\n")[1]
	require.NotContains(t, text, body)
	require.NotContains(t, text, b64([]byte(body))[4:30])
}
