package kubernetes

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authentication "k8s.io/api/authentication/v1"

	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

const audience = "keysteward"

func reviewerOf(t *testing.T, source string) *Reviewer {
	t.Helper()
	config, err := Config(source)
	require.NoError(t, err)
	r, err := NewReviewer(config, audience, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return r
}

// TestReview asks a real API server, with the rights that the documents ask for.
func TestReview(t *testing.T) {
	t.Parallel()
	k := kubetest.Start(t)
	r := reviewerOf(t, k.Kubeconfig)
	uid := k.CreatePod("staging", "web-0")
	good := k.PodToken("staging", "web-0", uid, audience)

	pod, err := r.Review(t.Context(), good)
	require.NoError(t, err)
	require.Equal(t, podtoken.Pod{Namespace: "staging", Name: "web-0", UID: uid, ServiceAccount: kubetest.ServiceAccount}, pod)
	expires, err := podtoken.Look(good, audience, time.Now())
	require.NoError(t, err, "what Kubernetes makes is what we look for")
	require.WithinDuration(t, time.Now().Add(10*time.Minute), expires, time.Minute)

	gone := k.PodToken("staging", "web-1", k.CreatePod("staging", "web-1"), audience)
	k.DeletePod("staging", "web-1")
	k.CreatePod("staging", "web-1") // has the name, and another UID
	// (Had the token been reviewed before, the API server would remember it for 10 s.)

	for name, token := range map[string]string{
		"of a pod that was deleted": gone,
		"for the API server":        k.PodToken("staging", "web-0", uid),
		"for somebody else":         k.PodToken("staging", "web-0", uid, "vault"),
		"expired":                   k.Sign(good, func(c map[string]any) { c["exp"] = time.Now().Add(-2 * time.Minute).Unix() }), // Kubernetes forgives one minute
		"of another issuer":         k.Sign(good, func(c map[string]any) { c["iss"] = "https://elsewhere" }),
		"of a pod with another UID": k.Sign(good, func(c map[string]any) { podClaims(t, c)["uid"] = "other" }),
		"of another pod":            k.Sign(good, func(c map[string]any) { podClaims(t, c)["name"] = "web-1" }),
		"altered":                   good[:len(good)-8] + "AAAAAAAA",
		"of no pod":                 k.AccountToken("staging", audience),
		"nothing":                   "eyJ.eyJ.x",
	} {
		require.EventuallyWithT(t, func(c *assert.CollectT) { // the API server sees a deletion a moment later
			_, err := r.Review(t.Context(), token)
			require.ErrorIs(c, err, podtoken.ErrRefused, name)
			require.NotContains(c, err.Error(), strings.Split(token, ".")[1])
		}, 10*time.Second, 20*time.Millisecond)
	}

	k.Stop()
	_, err = r.Review(t.Context(), good)
	require.ErrorIs(t, err, podtoken.ErrUnavailable)
	k.Restart()
	_, err = r.Review(t.Context(), good)
	require.NoError(t, err, "back again")
}

func podClaims(t *testing.T, claims map[string]any) map[string]any {
	t.Helper()
	ours, isMap := claims["kubernetes.io"].(map[string]any)
	require.True(t, isMap)
	pod, isMap := ours["pod"].(map[string]any)
	require.True(t, isMap)
	return pod
}

// What an API server may answer, and what is made of it.
func TestPodOf(t *testing.T) {
	t.Parallel()
	good := func() authentication.TokenReviewStatus {
		return authentication.TokenReviewStatus{
			Authenticated: true, Audiences: []string{"a", audience},
			User: authentication.UserInfo{Username: "system:serviceaccount:ns:sa", Extra: map[string]authentication.ExtraValue{
				extraPodName: {"p"}, extraPodUID: {"u"},
			}},
		}
	}
	r := &Reviewer{audience: audience}
	pod, err := r.podOf(good())
	require.NoError(t, err)
	require.Equal(t, podtoken.Pod{Namespace: "ns", Name: "p", UID: "u", ServiceAccount: "sa"}, pod)
	for name, change := range map[string]func(*authentication.TokenReviewStatus){
		"not authenticated":     func(s *authentication.TokenReviewStatus) { s.Authenticated = false },
		"audiences ignored":     func(s *authentication.TokenReviewStatus) { s.Audiences = nil },
		"other audience":        func(s *authentication.TokenReviewStatus) { s.Audiences = []string{"a"} },
		"a user":                func(s *authentication.TokenReviewStatus) { s.User.Username = "jane" },
		"a node":                func(s *authentication.TokenReviewStatus) { s.User.Username = "system:node:n" },
		"no namespace":          func(s *authentication.TokenReviewStatus) { s.User.Username = "system:serviceaccount::sa" },
		"no account":            func(s *authentication.TokenReviewStatus) { s.User.Username = "system:serviceaccount:ns" },
		"no pod":                func(s *authentication.TokenReviewStatus) { s.User.Extra = nil },
		"no UID":                func(s *authentication.TokenReviewStatus) { delete(s.User.Extra, extraPodUID) },
		"two names":             func(s *authentication.TokenReviewStatus) { s.User.Extra[extraPodName] = []string{"p", "q"} },
		"a name without letter": func(s *authentication.TokenReviewStatus) { s.User.Extra[extraPodName] = []string{""} },
	} {
		s := good()
		change(&s)
		_, err := r.podOf(s)
		require.ErrorIs(t, err, podtoken.ErrRefused, name)
	}
}

func TestConfigThatIsRefused(t *testing.T) {
	t.Parallel()
	for _, source := range []string{InCluster, "/no/such/file"} { // this machine is no pod
		_, err := Config(source)
		require.ErrorIs(t, err, ErrConfig)
		require.ErrorContains(t, err, source)
	}
}

func TestConfigThatBelievesAnyServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ cluster, says string }{
		"no verification":      {"server: https://192.0.2.1:6443\n    insecure-skip-tls-verify: true", "insecure-skip-tls-verify"},
		"on loopback":          {"server: https://127.0.0.1:6443\n    insecure-skip-tls-verify: true", "insecure-skip-tls-verify"},
		"no TLS":               {"server: http://192.0.2.1:8080", "not secured by TLS"},
		"no TLS, by name":      {"server: http://kube.example:8080", "not secured by TLS"},
		"no scheme":            {"server: kube.example:8080", "not secured by TLS"},
		"looks like loopback":  {"server: http://127.0.0.1.example:8080", "not secured by TLS"},
		"TLS":                  {"server: https://192.0.2.1:6443", ""},
		"no TLS, on loopback":  {"server: http://127.0.0.1:8001", ""},
		"no TLS, on loopback6": {"server: http://[::1]:8001", ""},
		"no TLS, localhost":    {"server: http://localhost:8001", ""},
	} {
		file := filepath.Join(t.TempDir(), "kubeconfig")
		text := "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: k\n  cluster:\n    " + c.cluster +
			"\ncontexts:\n- name: c\n  context: {cluster: k, user: u}\nusers:\n- name: u\n  user: {token: x}\n"
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := Config(file)
		if c.says == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, ErrConfig, name)
		require.ErrorContains(t, err, c.says, name)
	}
}
