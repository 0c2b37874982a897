package kubernetes

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

type answers func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

// FuzzReview: whatever Kubernetes, or who poses as it, answers to a review, it names a
// pod whole, or the token is turned away; the token is in no error.
func FuzzReview(f *testing.F) {
	good := `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"authenticated":true,"audiences":["keysteward"],"user":{"username":"system:serviceaccount:ns:sa",` +
		`"extra":{"authentication.kubernetes.io/pod-name":["p"],"authentication.kubernetes.io/pod-uid":["u"]}}}}`
	for _, seed := range []string{"", "null", "{}", "[]", good, good[:len(good)/2], `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`} {
		f.Add([]byte(seed), 201)
		f.Add([]byte(seed), 403)
	}
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		if status < 200 || status > 599 || status == http.StatusTooManyRequests || status >= 500 {
			return // those are tried again, or no statuses
		}
		r, err := NewReviewer(&rest.Config{Host: "http://kubernetes.example", QPS: -1, Transport: answers(func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r,
			}, nil
		})}, audience, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		pod, err := r.Review(t.Context(), "eyJ.the-token.x")
		if err != nil {
			require.True(t, errors.Is(err, podtoken.ErrRefused) || errors.Is(err, podtoken.ErrUnavailable), err)
			require.NotContains(t, err.Error(), "the-token")
			return
		}
		require.NotEmpty(t, pod.Namespace)
		require.NotEmpty(t, pod.Name)
		require.NotEmpty(t, pod.UID)
	})
}
