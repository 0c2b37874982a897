package api

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"

func TestPreferredMediaType(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"": plainText, "*/*": plainText, browser: htmlText, "application/json": jsonText, "text/plain": plainText, "text/html": htmlText,
		"application/json, text/plain, */*": jsonText, "text/plain;q=0.5, application/json;q=0.9": jsonText,
		"text/html;q=0, */*;q=0.1": plainText, "image/png": plainText, "text/html;q=x": plainText, ";;": plainText,
		"application/*": jsonText, "TEXT/HTML": htmlText, "application/json;charset=utf-8": jsonText,
	} {
		require.Equal(t, want, preferred(accept), accept)
	}
}

func (h *harness) in(namespace, pod string, keys int64) {
	h.Helper()
	ask := wire.AllocationRequest{Namespace: namespace, Pod: pod, PodUID: "uid", Keys: keys}
	h.post(ask, "")
	h.node.finish()
	require.Equal(h, http.StatusOK, h.post(ask, "").Code)
}

func TestAssignmentLines(t *testing.T) {
	t.Parallel()
	h := seeded(t, func(c *Config) { c.Witness = WitnessOperator })
	require.Empty(t, h.get("/assignments").Body.String())
	h.in("default", "web-1", 2)
	h.in("staging", "web-0", 1)
	h.in("default", "web-0", 1)
	h.in("default", "gone", 1)
	h.release("default", "gone", h.fence("gone"), "")
	keys := pubkeys(0, 4)
	want := fmt.Sprintf("web-0=0x%x\nweb-1=0x%x\nweb-1=0x%x\nstaging/web-0=0x%x\n", keys[3], keys[0], keys[1], keys[2])
	for _, path := range []string{"/assignments", "/allocations"} {
		w := h.get(path)
		require.Equal(t, want, w.Body.String())
		require.Equal(t, "Accept", w.Header().Get("Vary"))
	}
	a := read[wire.Assignments](t, h.get("/assignments", header("Accept", "application/json")))
	require.Len(t, a.Assignments, 4, "JSON shows resting keys too")
	require.Equal(t, "gone", a.Assignments[0].Pod)
	require.Equal(t, wire.AllocationStateResting, a.Assignments[0].State)
}

func TestAssignmentsPage(t *testing.T) {
	t.Parallel()
	h := seeded(t, func(c *Config) { c.Witness = WitnessOperator })
	page := func() string { return h.get("/assignments", header("Accept", browser)).Body.String() }
	require.Contains(t, page(), "No pod holds keys.")
	a := h.held("web-0", "uid-1", 1)
	h.release("default", "web-0", a.Fence, "")
	h.allocate("web-1", "uid-2", 3, "")
	h.node.generate(pubkeys)
	h.node.deposit("too-little-money", `the account <0xab> has "1" ETH`)
	h.node.follow("node-b", "https://b.example:7400")

	html := page()
	for _, text := range []string{
		a.Keys[0], "web-0", "resting", "until there is proof", "120ms old", "Cluster cluster-1", "1 resting", "3 depositing",
		"Pods that wait", "web-1", "too-little-money", "the account &lt;0xab&gt; has", "3 planned", "2023-11-14 22:13:20",
	} {
		require.Contains(t, html, text)
	}
	require.NotContains(t, html, "<0xab>", "texts are escaped")
	require.NotRegexp(t, `(?i)(src|href)=|<script`, html, "no other resources")
	require.True(t, strings.HasSuffix(html, "</html>\n"))
}

func TestPagePolicyFitsTheStyle(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	w := h.get("/assignments", header("Accept", browser))
	require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(w.Body.String())
	require.Len(t, style, 2)
	require.Equal(t, assignmentsCSS, style[1], "what is sent is what was hashed")
	require.NotContains(t, w.Body.String(), `style="`)
}

func TestHundredThousandKeys(t *testing.T) {
	t.Parallel()
	const pods, each = 100, 1000
	h := newHarness(t, func(c *Config) { c.MaxKeysPerPod = each })
	require.NoError(t, h.node.installSeed("any"))
	fake := func(first uint64, n int) [][]byte {
		keys := make([][]byte, n)
		for i := range keys {
			sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, first+uint64(i)))
			keys[i] = append(sum[:], sum[:16]...)
		}
		return keys
	}
	for pod := range pods {
		h.node.must(&fsmpb.Command{Body: &fsmpb.Command_Allocate{Allocate: &fsmpb.Allocate{
			Pod: &fsmpb.Pod{Namespace: "default", Name: fmt.Sprintf("web-%03d", pod), Uid: "u"}, Keys: each,
		}}})
		h.node.generate(fake)
		h.node.pay()
	}

	lines := strings.Split(strings.TrimSpace(h.get("/assignments").Body.String()), "\n")
	require.Len(t, lines, pods*each)
	seen := make(map[string]bool, len(lines))
	for i, line := range lines {
		pod, pubkey, _ := strings.Cut(line, "=")
		if pod != fmt.Sprintf("web-%03d", i/each) || seen[pubkey] || len(pubkey) != 98 {
			require.Fail(t, "line out of order", "%d: %s", i, line)
		}
		seen[pubkey] = true
	}
	html := h.get("/assignments", header("Accept", browser)).Body.String()
	require.Equal(t, pods*each, strings.Count(html, "<code>0x"))
	a := read[wire.Assignments](t, h.do("", http.MethodGet, "/v1/allocations", "", header("Authorization", "Bearer "+h.tokens[RoleViewer])))
	require.Len(t, a.Assignments, pods)
	require.Len(t, a.Assignments[99].Keys, each)
}
