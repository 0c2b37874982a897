package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzAnnouncement: what a member may say of itself holds a URL that callers can be
// sent to, one line of terms, and few keys with short public parts.
func FuzzAnnouncement(f *testing.F) {
	for _, seed := range []string{
		"", "null", "{}", `{"id":"n1-0","name":"n1","raft":"h:1","api":"https://h:2"}`,
		`{"id":"n1-0","name":"n1","raft":"h:1","api":"https://u@h:2","terms":"\u0007"}`,
		`{"id":"n1-0","name":"n1","raft":"h:1","api":"http://h","keys":[{"id":"tpm:0123456789abcdef","public":"AAAA"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var a announcement
		if json.NewDecoder(io.LimitReader(bytes.NewReader(body), maxPeerBody)).Decode(&a) != nil {
			return
		}
		if err := a.check(); err != nil {
			require.ErrorIs(t, err, errAnnouncement)
			require.Less(t, len(err.Error()), 2000, "what a stranger says is shortened")
			return
		}
		u, err := url.Parse(a.API)
		require.NoError(t, err)
		require.Contains(t, []string{"http", "https"}, u.Scheme)
		require.False(t, strings.ContainsAny(a.API+a.Terms+a.Raft+a.ID, "\r\n\x00"), "%+v", a)
		m := a.proto()
		require.LessOrEqual(t, len(m.GetKeys()), maxKeys)
		for _, k := range m.GetKeys() {
			require.LessOrEqual(t, len(k.GetPublic()), maxPublic)
		}
	})
}

type answers func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

// FuzzIdentity: whatever another node answers to who it is, or to an announcement, is
// taken or an error, and little of it is read.
func FuzzIdentity(f *testing.F) {
	f.Add([]byte(`{"id":"n1-0","name":"n1","clusterId":"c","hasState":true,"applied":3,"founders":"n1=h:1"}`), 200)
	f.Add([]byte(`{"applied":-1}`), 200)
	f.Add([]byte("\x00no"), 500)
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		read := 0
		p := &peers{http: &http.Client{Transport: answers(func(r *http.Request) (*http.Response, error) {
			endless := io.MultiReader(bytes.NewReader(body), strings.NewReader(strings.Repeat(" ", 1<<20)))
			return &http.Response{StatusCode: status, Body: io.NopCloser(io.TeeReader(endless, counter{&read})), Request: r}, nil
		})}}
		if _, err := p.identity(t.Context(), "h:1"); err == nil {
			require.Equal(t, http.StatusOK, status)
		}
		require.LessOrEqual(t, read, maxPeerBody)
		read = 0
		err := p.announce(t.Context(), "h:1", announcement{ID: "n1-0"})
		require.Equal(t, status == http.StatusOK, err == nil, errors.Unwrap(err))
		require.LessOrEqual(t, read, maxPeerBody)
	})
}

type counter struct{ n *int }

// Write implements io.Writer.
func (c counter) Write(p []byte) (int, error) {
	*c.n += len(p)
	return len(p), nil
}
