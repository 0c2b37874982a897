package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
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
	h.node.generate()
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

// manyPods is the part of a state that the page reads, as a snapshot: reaching
// it command by command would take a minute.
func manyPods(t *testing.T, pods, each int) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	records := uint64(0)
	put := func(r *fsmpb.Record) {
		_, err := protodelim.MarshalTo(&out, r)
		require.NoError(t, err)
		records++
	}
	put(&fsmpb.Record{Record: &fsmpb.Record_Header{Header: &fsmpb.Header{Format: fsm.SnapshotFormat}}})
	m := proto.CloneOf(fsm.New().View().Meta())
	m.ClusterId, m.AppliedIndex = "cluster-1", 1
	m.KeyCounts[fsmpb.KeyState_KEY_STATE_HELD] = uint64(pods * each)
	put(&fsmpb.Record{Record: &fsmpb.Record_Meta{Meta: m}})
	for i := range pods {
		a := &fsmpb.Allocation{
			Pod:   &fsmpb.Pod{Namespace: "default", Name: fmt.Sprintf("web-%03d", i), Uid: "u"},
			State: fsmpb.AllocationState_ALLOCATION_STATE_HELD, Fence: uint64(i + 1),
		}
		for j := range each {
			sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i*each+j)))
			a.Keys = append(a.Keys, append(sum[:], sum[:16]...))
		}
		put(&fsmpb.Record{Record: &fsmpb.Record_Allocation{Allocation: a}})
	}
	sum := sha256.Sum256(out.Bytes())
	put(&fsmpb.Record{Record: &fsmpb.Record_Trailer{Trailer: &fsmpb.Trailer{Records: records, Sha256: sum[:]}}})
	return &out
}

func TestHundredThousandKeys(t *testing.T) {
	t.Parallel()
	const pods, each = 100, 1000
	h := newHarness(t)
	require.NoError(t, h.node.machine.Restore(manyPods(t, pods, each)))

	// Validating answers of this size against openapi.yaml would take most of the time.
	fetch := func(target, accept string) string {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
		r.Header.Set("Authorization", "Bearer "+h.tokens[RoleViewer])
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		h.server.Handler().ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code)
		return w.Body.String()
	}
	lines := strings.Split(strings.TrimSpace(fetch("/assignments", "*/*")), "\n")
	require.Len(t, lines, pods*each)
	seen := make(map[string]bool, len(lines))
	for i, line := range lines {
		pod, pubkey, _ := strings.Cut(line, "=")
		if pod != fmt.Sprintf("web-%03d", i/each) || seen[pubkey] || len(pubkey) != 98 {
			require.Fail(t, "a line is out of order", "%d: %s", i, line)
		}
		seen[pubkey] = true
	}
	require.Equal(t, pods*each, strings.Count(fetch("/assignments", browser), "<code>0x"))
	require.Equal(t, pods*each, strings.Count(fetch("/v1/allocations", ""), `"0x`))
}
