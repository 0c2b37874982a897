package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hostile answers everything with the same.
type hostile struct {
	status   int
	location string
	body     []byte
	asked    []*http.Request
}

// RoundTrip implements http.RoundTripper.
func (h *hostile) RoundTrip(r *http.Request) (*http.Response, error) {
	h.asked = append(h.asked, r)
	return &http.Response{
		StatusCode: h.status, Header: http.Header{"Location": {h.location}}, Request: r, Body: io.NopCloser(bytes.NewReader(h.body)),
	}, nil
}

// FuzzAnswers: whatever a server answers, and wherever it sends us, the token goes to the
// servers that we were given alone, or to members that they name under https; the call
// ends, with one answer or an error.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		"", "null", "{}", `{"clusterId":"c","fence":1,"keys":["0x00"],"secrets":{"kem":32,"ciphertext":"AAAA"}}`,
		`{"nodes":[{"id":"a","api":"https://evil.example"}]}`, `{"nodes":[{"id":"a","api":"http://evil.example"},{"api":"https://u:p@evil.example"}]}`,
		`{"type":"stale-fence","status":409}`, `{"reason":{"code":"x"}}`,
	} {
		for _, status := range []int{200, 202, 307, 409, 503} {
			f.Add(uint16(status), "https://evil.example/v1/allocations", []byte(body))
		}
		f.Add(uint16(307), "//evil.example", []byte(body))
	}
	f.Fuzz(func(t *testing.T, status uint16, location string, body []byte) {
		h := &hostile{status: int(status%500) + 100, location: location, body: body}
		c, err := New(Config{Servers: []string{"https://member.example"}, Token: "kst_fuzz", Clock: &fakeClock{now: time.Unix(1_700_000_000, 0)}, RetryFor: time.Second})
		require.NoError(t, err)
		defer c.Close()
		c.transport.RegisterProtocol("https", h)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		allocation, pending, err := c.Allocate(ctx, ask("a", 1), 0)
		require.NoError(t, ctx.Err(), "it ends by itself")
		some := 0
		for _, there := range []bool{allocation != nil, pending != nil, err != nil} {
			if there {
				some++
			}
		}
		require.Equal(t, 1, some, "exactly one of allocation, pending and error")
		if err != nil {
			require.NotContains(t, err.Error(), "kst_fuzz")
		}
		named := string(body)
		for _, r := range h.asked {
			require.Equal(t, "https", r.URL.Scheme)
			require.True(t, r.URL.Host == "member.example" || strings.Contains(strings.ToLower(named), strings.ToLower(r.URL.Hostname())), r.URL)
		}
	})
}
