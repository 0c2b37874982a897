package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

// membership is a fake cluster whose members can be changed, which notes what was asked;
// n4-0000000a votes from its third look on.
func membership(t *testing.T) (sh shell, changes func() []string) {
	t.Helper()
	cluster := clienttest.Start(t, 1)
	var mu sync.Mutex
	var list []string
	looks := 0
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		answer := func(status int, v any) bool {
			w.WriteHeader(status)
			if v != nil {
				require.NoError(t, json.NewEncoder(w).Encode(v))
			}
			return true
		}
		path := r.Method + " " + r.URL.Path
		if path == "GET /v1/cluster" {
			looks++
			return answer(http.StatusOK, wire.Cluster{ClusterID: clienttest.ClusterID, Leader: "n1-00000001", FailureTolerance: 0, Nodes: []wire.Node{
				{ID: "n1-00000001", Voter: true, Role: wire.NodeRoleVoter, API: cluster.URLs()[0]},
				{ID: "n2-00000002", Voter: true, Role: wire.NodeRoleVoter, Silent: true, Lag: -1},
				{ID: "n3-00000003", Voter: true, Role: wire.NodeRoleVoter, Sealed: true},
				{ID: "n3-00000004", Voter: true, Role: wire.NodeRoleVoter},
				{ID: "n4-0000000a", Voter: looks > 2, Role: wire.NodeRoleNonvoter, Waiting: "catches up"},
			}})
		}
		if !strings.HasPrefix(r.URL.Path, "/v1/cluster/") {
			return false
		}
		body, _ := io.ReadAll(r.Body)
		list = append(list, strings.TrimSpace(path+"?"+r.URL.RawQuery+" "+string(body)))
		switch {
		case path == "POST /v1/cluster/members":
			return answer(http.StatusOK, wire.Member{ID: "n4-0000000a", Raft: "n4:8300"})
		case path == "POST /v1/cluster/transfer":
			return answer(http.StatusOK, wire.Transferred{Leader: "n2-00000002"})
		case r.Method == http.MethodDelete && r.URL.RawQuery == "":
			return answer(http.StatusConflict, wire.Problem{Type: "less-tolerant", Status: http.StatusConflict, Detail: "the loss of 0 voters instead of 1"})
		}
		return answer(http.StatusNoContent, nil)
	}
	return at(cluster), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return list
	}
}

func TestMembersByOperator(t *testing.T) {
	t.Parallel()
	sh, changes := membership(t)
	for args, want := range map[string]string{
		"join n4:8300":       "n4-0000000a is a member and votes",
		"remove n1 --force":  "n1-00000001 is no member any more",
		"promote n2":         "n2-00000002 votes",
		"transfer":           "n2-00000002 leads",
		"transfer n1":        "n2-00000002 leads",
		"remove n9 --force":  "n9 is no member any more",
		"remove n3-00000004": "",
	} {
		got := sh.run(t, append([]string{"cluster"}, strings.Fields(args)...)...)
		if want == "" {
			require.Equal(t, ExitFailure, got.code)
			require.Contains(t, got.err, "the loss of 0 voters instead of 1")
			continue
		}
		require.Zero(t, got.code, got.err)
		require.Contains(t, got.out, want, args)
	}
	require.ElementsMatch(t, []string{
		`POST /v1/cluster/members? {"raft":"n4:8300"}`, "DELETE /v1/cluster/members/n1-00000001?force=true", "POST /v1/cluster/members/n2-00000002/promote?",
		"POST /v1/cluster/transfer? {}", `POST /v1/cluster/transfer? {"to":"n1-00000001"}`, "DELETE /v1/cluster/members/n9?force=true", "DELETE /v1/cluster/members/n3-00000004?",
	}, changes())
	for _, args := range []string{"join", "join n4", "remove", "promote", "transfer a b", "remove n3"} {
		require.Equal(t, ExitUsage, sh.run(t, append([]string{"cluster"}, strings.Fields(args)...)...).code, args)
	}
}

func TestStatusSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	sh, _ := membership(t)
	got := sh.run(t, "cluster", "status")
	require.Zero(t, got.code, got.err)
	for _, want := range []string{"does not answer", "sealed", "WARNING: with one more of the 4 voters lost the cluster stops", "n4-0000000a does not vote yet: catches up"} {
		require.Contains(t, got.out, want)
	}
}
