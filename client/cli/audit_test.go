package cli

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/auditverify"
	"github.com/keysteward/keysteward/client/clienttest"
)

// audited is a cluster with an audit log.
func audited(t *testing.T, records int) (shell, *clienttest.AuditLog) {
	t.Helper()
	cluster, log := clienttest.Start(t, 1), clienttest.NewAuditLog(records)
	log.PageSize = 3
	cluster.Intercept = log.Serve
	return at(cluster), log
}

func TestAuditList(t *testing.T) {
	t.Parallel()
	sh, log := audited(t, 8)
	log.Records[7].Caller["auth"], log.Records[7].Detail = "token", "steers\x1b[2J the terminal"
	log.Chain(7)
	golden(t, "audit.txt", sh.run(t, "audit", "list").out)
	golden(t, "audit-last.txt", sh.run(t, "audit", "list", "--last", "2", "--object", "default/web-1").out)
	golden(t, "audit.yaml", sh.run(t, "audit", "list", "--from", "8", "-o", "yaml").out)
	var all auditListing
	require.NoError(t, json.Unmarshal([]byte(sh.run(t, "audit", "list", "-o", "json").out), &all))
	require.Equal(t, log.Page("", "", "", 6).Records, all.Records[5:])
	require.Equal(t, ExitUsage, sh.run(t, "audit", "list", "--from", "-1").code)
	require.Equal(t, ExitUsage, sh.run(t, "audit").code)
}

func TestAuditVerify(t *testing.T) {
	t.Parallel()
	sh, log := audited(t, 8)
	head := log.Head().String()
	log.Add(2)
	file := writeFile(t, string(log.Lines()))
	got := sh.run(t, "audit", "verify", "--head", head, "--file", file)
	require.Equal(t, said{0, "10 records of the cluster verified, from 1 to 10\n10 records of files verified\nhead: " + log.Head().String() + "\n", ""}, got)
	var report auditverify.Report
	require.NoError(t, json.Unmarshal([]byte(sh.run(t, "audit", "verify", "-o", "json").out), &report))
	require.Equal(t, log.Head(), report.Head)

	alone := shell{}
	require.Equal(t, said{0, "10 records of files verified\nhead: " + log.Head().String() + "\n", ""}, alone.run(t, "audit", "verify", "--file", file))
	require.Equal(t, ExitUsage, alone.run(t, "audit", "verify").code, "nothing to verify")
	require.Equal(t, ExitUsage, sh.run(t, "audit", "verify", "--head", "12").code)
	require.Equal(t, ExitUsage, sh.run(t, "audit", "verify", "--file", file+"-").code)

	log.Records[4].Caller["name"] = "somebody else"
	got = sh.run(t, "audit", "verify")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "the audit log is broken at record 5")
	log.Chain(4)
	require.Zero(t, sh.run(t, "audit", "verify").code, "rewritten as a whole: the chain alone does not tell")
	got = sh.run(t, "audit", "verify", "--head", head)
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "history was rewritten")
}

func TestAuditIsForAdmins(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Intercept = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		clienttest.Problem(w, http.StatusForbidden, "forbidden", "not for you")
		return true
	}
	got := at(cluster).run(t, "audit", "verify")
	require.NotZero(t, got.code)
	require.Contains(t, got.err, "not for you")
}
