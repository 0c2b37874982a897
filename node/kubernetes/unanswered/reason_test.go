package unanswered

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/pki/pkitest"
)

func TestBecause(t *testing.T) {
	t.Parallel()
	dial := func(port int, err error) error {
		return &url.Error{Op: "Post", URL: "https://10.0.0.1:6443/x", Err: &net.OpError{
			Op: "dial", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 9), Port: port}, Err: err,
		}}
	}
	for name, c := range map[string]struct {
		err      error
		unproven bool
		detail   string
	}{
		"refused":   {dial(1234, os.NewSyscallError("connect", syscall.ECONNREFUSED)), false, "connection refused"},
		"no name":   {dial(0, &net.DNSError{Err: "no such host", Name: "k8s.example"}), false, "k8s.example"},
		"no answer": {dial(0, context.DeadlineExceeded), false, "no answer in time"},
		"broke":     {errors.New("EOF"), false, "the connection broke"},
		"authority": {&url.Error{Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}, true, "authority of the kubeconfig"},
		"host":      {&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"a"}}, Host: "b"}}, true, "b"},
		"verify":    {dial(1234, &tls.CertificateVerificationError{Err: errors.New("no way")}), true, "no way"},
		"no TLS":    {tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, true, "does not speak TLS"},
		"alert":     {errors.New("remote error: tls: bad certificate"), true, "tls: bad certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			why := Because(c.err)
			require.Equal(t, c.unproven, why.Unproven)
			require.Contains(t, why.Detail, c.detail)
			require.NotContains(t, why.Detail, "1234", "what differs each time would be told each time")
		})
	}
}

// The words about a certificate that is over do not tell the present time, as those of the
// library do: they would be news each second.
func TestExpiredServerIsToldOnce(t *testing.T) {
	t.Parallel()
	ca := pkitest.NewAuthority(t, "Kubernetes CA")
	files := ca.Write(t, t.TempDir(), []string{"127.0.0.1"})
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(files.CA)
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(pem))
	said := map[string]bool{}
	for years := range 3 {
		later := time.Now().AddDate(50+years, 0, 0)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: roots, Time: func() time.Time { return later },
		}}}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		require.NoError(t, err)
		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		why := Because(fmt.Errorf("list pods: %w", err))
		require.True(t, why.Unproven)
		require.Contains(t, why.Detail, "is valid from")
		said[why.Detail] = true
	}
	require.Len(t, said, 1)
}
