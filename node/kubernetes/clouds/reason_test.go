package clouds

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/keysteward/keysteward/node"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	pods := schema.GroupResource{Resource: "pods"}
	terminatingStatus := apierrors.NewForbidden(pods, "p", errors.New("the namespace is being terminated"))
	terminatingStatus.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: core.NamespaceTerminatingCause}}
	refused := &net.OpError{
		Op: "dial", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 1234}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED),
	}
	for name, c := range map[string]struct {
		err          error
		code, detail string
		away         bool
	}{
		"nothing":        {nil, "", "", false},
		"ours":           {fmt.Errorf("x: %w", waitFor(CodeClock, "late by %d", 3)), CodeClock, "late by 3", false},
		"sealed":         {fmt.Errorf("open: %w", node.ErrSealed), CodeSealed, "open", false},
		"401":            {apierrors.NewUnauthorized("no"), CodeUnauthorized, "(401)", true},
		"403":            {apierrors.NewForbidden(pods, "p", errors.New(`User "u" cannot create resource "pods"`)), CodeForbidden, `cannot create resource "pods"`, false},
		"terminating":    {terminatingStatus, CodeNamespaceTerminating, "being terminated", false},
		"invalid":        {apierrors.NewBadRequest("no such field"), CodeApplyFailed, "no such field", false},
		"503":            {apierrors.NewServiceUnavailable("etcd"), CodeUnreachable, "503", true},
		"429":            {apierrors.NewTooManyRequestsError("slow down"), CodeUnreachable, "429", true},
		"refused":        {&url.Error{Op: "Post", URL: "https://10.0.0.1:6443/x", Err: refused}, CodeUnreachable, "connection refused", true},
		"broke":          {errors.New("EOF"), CodeUnreachable, "the connection broke", true},
		"authority":      {&url.Error{Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}, CodeAuthority, "authority", true},
		"expired server": {x509.CertificateInvalidError{Cert: &x509.Certificate{}, Reason: x509.Expired}, CodeAuthority, "expired", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			why := explain(c.err)
			require.Equal(t, c.code, why.code)
			require.Contains(t, why.detail, c.detail)
			require.Equal(t, c.away, why.isAway())
			require.NotContains(t, why.detail, "1234", "what differs each time would be told each time")
		})
	}
}

func TestReasonsAreBounded(t *testing.T) {
	t.Parallel()
	why := explain(waitFor(CodeApplyFailed, "%s", "a"+strings.Repeat("ä", 2000)))
	require.Len(t, why.detail, maxDetail-1, "it is not cut in the middle of a character")
	require.Equal(t, reason{CodeStuck, CodeForbidden + ": words"}, stuck(reason{CodeForbidden, "words"}))
	require.EqualError(t, waitFor(CodeClock, "words"), "clock: words")
}

// Of several errors the one is told that concerns all.
func TestFirst(t *testing.T) {
	t.Parallel()
	forbidden, away := apierrors.NewForbidden(schema.GroupResource{}, "p", nil), apierrors.NewUnauthorized("no")
	require.NoError(t, first(nil))
	require.NoError(t, first([]error{nil, nil}))
	require.Equal(t, error(forbidden), first([]error{nil, forbidden, errors.Join()}))
	require.Equal(t, error(away), first([]error{forbidden, away}))
}
