package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/node"
)

func (h *harness) audit(query string) wire.AuditPage {
	h.Helper()
	w := h.do(RoleAdmin, http.MethodGet, "/v1/audit"+query, "")
	require.Equal(h, http.StatusOK, w.Code, w.Body)
	return read[wire.AuditPage](h.T, w)
}

// TestAuditIsVerifiedFromOutside pages through the log and follows the chain
// with nothing but what the answers say.
func TestAuditIsVerifiedFromOutside(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.held("web-0", "u-0", 2)
	var list []wire.AuditRecord
	for from, more := int64(0), true; more; more = from != 0 {
		page := h.audit("?limit=3&from=" + strconv.FormatInt(from, 10))
		require.LessOrEqual(t, len(page.Records), 3)
		list, from = append(list, page.Records...), page.NextFrom
	}
	last := h.audit("")
	require.Equal(t, last.Records, list)
	require.Greater(t, len(list), 8)
	require.Equal(t, wire.AuditHead{}, last.Anchor)
	chain := audit.NewChain(audit.Head{})
	for _, w := range list {
		var r audit.Record // the JSON of the API is that of a file
		text, err := json.Marshal(w)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &r))
		require.NoError(t, chain.Next(r))
	}
	require.Equal(t, last.Head, auditHead(chain.Head()))
	stale := h.audit("?consistency=stale")
	require.Equal(t, list, stale.Records)
}

func TestAuditFilters(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.held("web-0", "u-0", 1)
	h.held("web-1", "u-1", 1)
	all := h.audit("").Records
	for query, fits := range map[string]func(wire.AuditRecord) bool{
		"?action=allocation.grant": func(r wire.AuditRecord) bool { return r.Action == "allocation.grant" },
		"?action=allocation.":      func(r wire.AuditRecord) bool { return len(r.Action) > 11 && r.Action[:11] == "allocation." },
		"?object=default/web-0":    func(r wire.AuditRecord) bool { return r.Object == "default/web-0" },
		"?caller=the-operator":     func(r wire.AuditRecord) bool { return r.Caller["name"] == "the-operator" },
		"?caller=the-operator&object=default/web-1": func(r wire.AuditRecord) bool {
			return r.Caller["name"] == "the-operator" && r.Object == "default/web-1"
		},
		"?caller=nobody": func(wire.AuditRecord) bool { return false },
		"?from=5":        func(r wire.AuditRecord) bool { return r.Seq >= 5 },
		"?from=9223372036854775807&consistency=stale": func(wire.AuditRecord) bool { return false },
	} {
		want := []wire.AuditRecord{}
		for _, r := range all {
			if fits(r) {
				want = append(want, r)
			}
		}
		require.Equal(t, want, h.audit(query).Records, query)
	}
	for query, field := range map[string]string{
		"?from=-1": "from", "?from=x": "from", "?from=9223372036854775808": "from", "?limit=0": "limit",
		"?action=": "action", "?caller=": "caller", "?object=": "object", "?cursor=3": "cursor",
	} {
		requireProblem(t, h.do(RoleAdmin, http.MethodGet, "/v1/audit"+query, ""), http.StatusBadRequest, invalidField, field)
	}
}

// TestNothingIsDisclosedBeforeItIsOnRecord asks the vault, at the moment when it
// is asked for secrets, whether the record is committed and complete.
func TestNothingIsDisclosedBeforeItIsOnRecord(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.held("web-0", "u-0", 2)
	_, recipient, err := wire.NewRecipient(wire.KEMX25519)
	require.NoError(t, err)
	disclosed := func() int { return len(h.audit("?action=key.disclose").Records) }
	for n := 1; n <= 3; n++ {
		asked := false
		h.vault.onSecrets = func() {
			asked = true
			require.Equal(t, n, disclosed(), "secrets were asked for before the record was committed")
		}
		w := h.post(wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "u-0", Keys: 2, Recipient: recipient}, "",
			header("X-Request-Id", "req-"+strconv.Itoa(n)))
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.True(t, asked)
		last := h.audit("?action=key.disclose").Records[n-1]
		require.Equal(t, "2 keys, UID u-0, fence "+strconv.FormatInt(read[wire.Allocation](t, w).Fence, 10), last.Detail)
		require.Equal(t, []string{"default/web-0", "req-" + strconv.Itoa(n), "the-operator", "192.0.2.1"},
			[]string{last.Object, last.RequestID, last.Caller["name"], last.Caller["remote"]})
	}
	h.vault.onSecrets = func() { t.Error("secrets were asked for although nothing could be recorded") }
	h.node.onPropose = func(func() (any, error)) (any, error) { return nil, node.ErrUnknownOutcome }
	w := h.post(wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "u-0", Keys: 2, Recipient: recipient}, "")
	requireProblem(t, w, http.StatusServiceUnavailable, outcomeUnknown, "")
	require.Equal(t, 3, disclosed())
}

// TestRefusedChangesAreOnRecord: a caller who may, and whom the state machine refuses.
func TestRefusedChangesAreOnRecord(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	a := h.held("web-0", "u-0", 1)
	for range 3 {
		w := h.do(RoleOperator, http.MethodDelete, "/v1/allocations/default/web-0?fence="+strconv.FormatInt(a.Fence+7, 10), "")
		require.Equal(t, http.StatusConflict, w.Code)
	}
	got := h.audit("?action=allocation.release").Records
	require.Len(t, got, 1)
	require.Equal(t, audit.Refused(string(fsm.StaleFence)), got[0].Outcome)
}

func TestNotesDoNotMakeANodeUnready(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(c *Config) {
		c.Notes = func() []node.Check { return []node.Check{{Name: "audit-file", Detail: "disk full"}} }
	})
	w := h.do("", http.MethodGet, "/readyz", "")
	require.Equal(t, http.StatusOK, w.Code)
	r := read[wire.Readiness](t, w)
	require.True(t, r.Ready)
	require.Equal(t, "disk full", r.Checks[1].Detail)
	require.False(t, r.Checks[1].Ok)
}
