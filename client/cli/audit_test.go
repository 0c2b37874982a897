package cli

import (
	"encoding/json"
	"net/http"
	"strings"
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
	require.Equal(t, said{0, "10 records of the cluster verified, from 1 to 10\n10 records of files verified, from 1 to 10; the cluster's newest is 10\nhead: " + log.Head().String() + "\n", ""}, got)
	var report auditverify.Report
	require.NoError(t, json.Unmarshal([]byte(sh.run(t, "audit", "verify", "-o", "json").out), &report))
	require.Equal(t, log.Head(), report.Head)

	alone := shell{}
	require.Equal(t, said{0, "note: no cluster was asked: nothing says whether records behind 10 are missing\n10 records of files verified, from 1 to 10\nhead: " + log.Head().String() + "\n", ""}, alone.run(t, "audit", "verify", "--file", file))
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

// TestAuditVerifyTellsCutFiles: what is printed of a file of which lines were taken away.
func TestAuditVerifyTellsCutFiles(t *testing.T) {
	t.Parallel()
	sh, log := audited(t, 23)
	head, lines := log.Head().String(), strings.SplitAfter(string(log.Lines()), "\n")
	without := func(first, last int) string { return writeFile(t, strings.Join(lines[first:23-last], "")) }
	for name, test := range map[string]struct {
		sh   shell
		args []string
		code int
		out  string
		err  string
	}{
		"end":                {sh, []string{"--file", without(0, 8)}, ExitFailure, "15 records of files verified, from 1 to 15; the cluster's newest is 23\n", "the file ends at record 15, the cluster's newest is 23: it was cut, or the node that writes it is stopped"},
		"end is allowed":     {sh, []string{"--max-lag", "8", "--file", without(0, 8)}, 0, "note: the files lack the newest 8 records, up to 23, which is allowed\n", ""},
		"beginning":          {sh, []string{"--file", without(9, 0)}, ExitFailure, "gap: the files lack records 1 to 9: no file has these records", "records 1 to 9 are lacking"},
		"beginning, allowed": {sh, []string{"--allow-gaps", "--file", without(9, 0)}, 0, "14 records of files verified, from 10 to 23; the cluster's newest is 23\nhead: ", ""},
		"empty":              {sh, []string{"--file", without(23, 0)}, ExitFailure, "", "the file is empty"},
		"alone, end":         {shell{}, []string{"--file", without(0, 8)}, 0, "nothing says whether records behind 15 are missing\n15 records of files verified, from 1 to 15\nhead: 15:", ""},
		"alone, noted":       {shell{}, []string{"--head", head, "--file", without(0, 8)}, ExitFailure, "from 1 to 15\n", "the file ends at record 15 and record 23 was noted: it was cut"},
		"alone, beginning":   {shell{}, []string{"--file", without(9, 0)}, ExitFailure, "gap: the files lack records 1 to 9", "records 1 to 9 are lacking"},
		"alone, empty":       {shell{}, []string{"--file", without(23, 0)}, ExitFailure, "", "the file is empty"},
		"lag of nobody":      {shell{}, []string{"--max-lag", "8", "--file", without(0, 8)}, ExitUsage, "", "--max-lag"},
		"gaps of no file":    {sh, []string{"--allow-gaps"}, ExitUsage, "", "--allow-gaps"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the log is only read
			got := test.sh.run(t, append([]string{"audit", "verify"}, test.args...)...)
			require.Equal(t, test.code, got.code, got)
			require.Contains(t, got.out, test.out)
			require.Contains(t, got.err, test.err)
			require.Equal(t, test.code == 0, strings.Contains(got.out, "head: "), "a head to be noted is of what is good")
		})
	}
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
