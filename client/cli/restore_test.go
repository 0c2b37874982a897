package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

// tell answers with JSON.
func tell(w io.Writer, what any) {
	if err := json.NewEncoder(w).Encode(what); err != nil {
		panic(err)
	}
}

func TestRestoreCommands(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	now := wire.Restore{Missing: []wire.RestoreMissing{}}
	var confirmed []string
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		switch r.Method + " " + r.URL.Path {
		case "GET /v1/restore":
			tell(w, now)
		case "POST /v1/restore/confirm":
			body, _ := io.ReadAll(r.Body)
			confirmed = append(confirmed, strings.TrimSpace(string(body)))
			if len(now.Missing) > 0 {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusConflict)
				tell(w, wire.Problem{Type: "restore-incomplete", Title: "not yet", Status: 409, Detail: now.Missing[0].Detail})
				return true
			}
			w.WriteHeader(http.StatusNoContent)
		case "POST /v1/tokens/00ff/confirm":
			tell(w, wire.Token{ID: "00ff", Name: "ci", Role: wire.TokenRoleViewer})
		default:
			return false
		}
		return true
	}
	sh := at(cluster)
	require.Equal(t, "no backup was ever restored\n", sh.run(t, "restore", "status").out)
	got := sh.run(t, "restore", "confirm", "--validators-stopped")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "there is no restore to confirm")

	now = wire.Restore{
		Number: 2, Open: true, By: "root", BackupIndex: 77, BackupMade: time.Unix(0, 0), At: time.Unix(60, 0),
		Missing: []wire.RestoreMissing{{Code: "account", Detail: "the next nonce is not known"}}, RestingKeys: 3, AdoptedKeys: 1, SuspendedTokens: 2,
	}
	out := sh.run(t, "restore", "status").out
	for _, want := range []string{"RESTORED AND NOT CONFIRMED", "index 77", "1970-01-01T00:00:00Z", "missing: the next nonce is not known", "3 keys rest", "--all-adopted", "2 tokens let nobody in"} {
		require.Contains(t, out, want)
	}
	require.Equal(t, ExitUsage, sh.run(t, "restore", "confirm").code, "the word is asked for")
	require.Equal(t, ExitFailure, sh.run(t, "restore", "confirm", "--validators-stopped", "--number", "1").code)
	require.Empty(t, confirmed)
	got = sh.run(t, "restore", "confirm", "--validators-stopped")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "the next nonce is not known")
	now.Missing = nil
	require.Contains(t, sh.run(t, "restore", "status").out, "--validators-stopped")
	got = sh.run(t, "restore", "confirm", "--validators-stopped", "--no-deposits-made")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "restore 2 is confirmed")
	require.JSONEq(t, `{"number":2,"validatorsStopped":true,"noDeposits":true}`, confirmed[1])
	now.Open, now.ConfirmedBy = false, "ann"
	require.Contains(t, sh.run(t, "restore", "confirm", "--validators-stopped").out, "confirmed before, by ann")
	require.Contains(t, sh.run(t, "restore", "status").out, "was confirmed by ann")

	require.Contains(t, sh.run(t, "tokens", "confirm", "00ff").out, "token 00ff of ci")
	require.Equal(t, ExitUsage, sh.run(t, "tokens", "confirm").code)
}
