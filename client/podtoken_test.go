package client

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"
)

func jwt(claims string) Token {
	return Token("eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2lnbmF0dXJl")
}

func TestPodOfToken(t *testing.T) {
	t.Parallel()
	const uid = "11111111-2222-4333-8444-555555555555"
	pod, ok := PodOfToken(jwt(`{"aud":["keysteward"],"kubernetes.io":{"namespace":"ns","pod":{"name":"web-0","uid":"` + uid + `"},"serviceaccount":{"name":"default"}}}`))
	require.True(t, ok)
	require.Equal(t, PodIdentity{Namespace: "ns", Pod: "web-0", UID: uid}, pod)
	for name, token := range map[string]Token{
		"ours":            "kst_0011",
		"nothing":         "",
		"no pod":          jwt(`{"kubernetes.io":{"namespace":"ns"}}`),
		"no JSON":         jwt(`{`),
		"no base64":       "a.!.c",
		"other claims":    jwt(`{"sub":"x"}`),
		"malformed name":  jwt(`{"kubernetes.io":{"namespace":"ns","pod":{"name":"../x","uid":"` + uid + `"}}}`),
		"malformed claim": jwt(`{"kubernetes.io":"x"}`),
	} {
		_, ok := PodOfToken(token)
		require.False(t, ok, name)
	}
}

func FuzzPodOfToken(f *testing.F) {
	f.Add(`{"kubernetes.io":{"namespace":"ns","pod":{"name":"web-0","uid":"u"}}}`)
	f.Fuzz(func(t *testing.T, claims string) {
		if pod, ok := PodOfToken(jwt(claims)); ok {
			require.NoError(t, CheckPod(pod.Namespace, pod.Pod))
			require.NoError(t, CheckPodUID(pod.UID))
		}
	})
}
