package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

// sealed answers for three members, of which node-2 is sealed; it notes what was changed.
func sealed(t *testing.T) (sh shell, changes func() []string) {
	t.Helper()
	cluster := clienttest.Start(t, 3)
	var mu sync.Mutex
	var list []string
	cluster.Intercept = func(node int, w http.ResponseWriter, r *http.Request) bool {
		answer := func(status int, v any) bool {
			w.WriteHeader(status)
			require.NoError(t, json.NewEncoder(w).Encode(v))
			return true
		}
		switch path := r.Method + " " + r.URL.Path; {
		case path == "GET /v1/seal":
			return answer(http.StatusOK, wire.Seal{
				Node: "node", Sealed: node == 2, Reason: strings.Repeat("no such file", node/2), Revision: 7, CurrentTerm: 3, Since: time.Unix(0, 0).UTC(),
				Keys:  []wire.SealKey{{ID: "file:00", Kind: "file", Wraps: true, Nodes: []string{"n0", "n1"}}, {ID: "tpm:11", Kind: "tpm", Nodes: []string{"n2"}}},
				Terms: []wire.SealTerm{{Term: 2, Records: 40, Seed: true, ImportedKeys: 39, Uses: 1000}, {Term: 3, Records: 960, ImportedKeys: 960, Uses: 960}},
			})
		case path == "POST /v1/seal/verify":
			return answer(http.StatusOK, wire.SealVerification{Node: "n", Keys: []wire.SealVerified{
				{ID: "file:00", Ok: node != 2, Detail: strings.Repeat("no such file", node/2)}, {ID: "tpm:11", Detail: "is not one of them"},
			}})
		case strings.HasPrefix(r.URL.Path, "/v1/seal"):
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			list = append(list, path+"?"+r.URL.RawQuery+" "+string(body))
			mu.Unlock()
			if r.Method == http.MethodDelete && r.URL.Query().Get("force") == "" {
				return answer(http.StatusConflict, wire.Problem{Type: "members-stranded", Status: http.StatusConflict, Title: "Members would be sealed for good", Detail: "n2"})
			}
			w.WriteHeader(http.StatusNoContent)
			return true
		}
		return false
	}
	return at(cluster), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return list
	}
}

func TestSealStatus(t *testing.T) {
	t.Parallel()
	sh, _ := sealed(t)
	got := sh.run(t, "seal", "status")
	require.Zero(t, got.code, got.err)
	for _, want := range []string{"file:00", "n0, n1", "no: seal add tpm:11", "seals, since 1970-01-01T00:00:00Z", "the seed, 39 imported keys", "960 imported keys", "unsealed", "no such file"} {
		require.Contains(t, got.out, want)
	}
	got = sh.run(t, "seal", "status", "-o", "json")
	var state sealState
	require.NoError(t, json.Unmarshal([]byte(got.out), &state))
	require.EqualValues(t, 7, state.Revision)
	require.Len(t, state.Nodes, 3)
	require.Equal(t, nodeUnsealed, state.Nodes[0].State)
	require.Equal(t, nodeSealed, state.Nodes[2].State)
}

func TestSealVerify(t *testing.T) {
	t.Parallel()
	sh, _ := sealed(t)
	got := sh.run(t, "seal", "verify")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.out, "is not one of them")
	require.Contains(t, got.out, "no such file")
	require.Contains(t, got.err, "no key is known to open the secrets on ")
}

func TestSealChanges(t *testing.T) {
	t.Parallel()
	sh, changes := sealed(t)
	for _, args := range []string{"rotate", "add tpm:11", "remove file:00 --force"} {
		got := sh.run(t, append([]string{"seal"}, strings.Fields(args)...)...)
		require.Zero(t, got.code, got.err)
		require.NotEmpty(t, got.out)
	}
	got := sh.run(t, "seal", "remove", "file:00")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "members-stranded")
	require.Equal(t, []string{
		"POST /v1/seal/rotate? ", `POST /v1/seal/keys? {"id":"tpm:11"}`, "DELETE /v1/seal/keys/file:00?force=true ", "DELETE /v1/seal/keys/file:00? ",
	}, changes())
	for _, args := range []string{"add", "remove", "rotate x", "add a b"} {
		require.Equal(t, ExitUsage, sh.run(t, append([]string{"seal"}, strings.Fields(args)...)...).code, args)
	}
}

// A node that does not answer is not called sealed, and neither is a cluster that
// does not answer at all.
func TestSealOfNodesThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	for name, answering := range map[string]int{"one answers": 1, "none answers": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 3)
			cluster.Intercept = func(node int, w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, "/v1/seal") {
					return false
				}
				if node < answering {
					require.NoError(t, json.NewEncoder(w).Encode(wire.Seal{Node: "n", Revision: 1}))
					return true
				}
				w.WriteHeader(http.StatusForbidden)
				require.NoError(t, json.NewEncoder(w).Encode(wire.Problem{Type: "forbidden", Status: http.StatusForbidden, Title: "no", Detail: "not you"}))
				return true
			}
			got := at(cluster).run(t, "seal", "status")
			if answering == 0 {
				require.Equal(t, ExitFailure, got.code)
				require.Contains(t, got.err, "not you")
				return
			}
			require.Zero(t, got.code, got.err)
			require.Contains(t, got.out, nodeUnknown)
			require.NotContains(t, got.out, "  sealed")
		})
	}
}
