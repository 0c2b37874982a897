package api

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node"
)

// fakeMembers note what they are asked, and answer with err.
type fakeMembers struct {
	asked []string
	err   error
}

func (f *fakeMembers) note(by node.Asker, format string, args ...any) error {
	f.asked = append(f.asked, by.Caller.GetName()+": "+fmt.Sprintf(format, args...))
	return f.err
}

func (f *fakeMembers) Join(_ context.Context, by node.Asker, address string) (node.Member, error) {
	return node.Member{ID: "n4-00000000", Address: address}, f.note(by, "join %s", address)
}

func (f *fakeMembers) Remove(_ context.Context, by node.Asker, id string, force bool) error {
	return f.note(by, "remove %s %v", id, force)
}

func (f *fakeMembers) Promote(_ context.Context, by node.Asker, id string) error {
	return f.note(by, "promote %s", id)
}

func (f *fakeMembers) Transfer(_ context.Context, by node.Asker, to string) (string, error) {
	return "node-b", f.note(by, "transfer %q", to)
}

func TestMembersAreChanged(t *testing.T) {
	t.Parallel()
	m := &fakeMembers{}
	h := newHarness(t, func(c *Config) { c.Members = m })
	w := h.do(RoleAdmin, http.MethodPost, "/v1/cluster/members", `{"raft":"n4:8300"}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, wire.Member{ID: "n4-00000000", Raft: "n4:8300"}, read[wire.Member](t, w))
	for _, path := range []string{"n4-00000000", "n4-00000000?force=true"} {
		require.Equal(t, http.StatusNoContent, h.do(RoleAdmin, http.MethodDelete, "/v1/cluster/members/"+path, "").Code)
	}
	require.Equal(t, http.StatusNoContent, h.do(RoleAdmin, http.MethodPost, "/v1/cluster/members/n4-00000000/promote", "").Code)
	w = h.do(RoleAdmin, http.MethodPost, "/v1/cluster/transfer", `{"to":"node-b"}`)
	require.Equal(t, "node-b", read[wire.Transferred](t, w).Leader)
	require.Equal(t, []string{
		"the-admin: join n4:8300", "the-admin: remove n4-00000000 false", "the-admin: remove n4-00000000 true",
		"the-admin: promote n4-00000000", `the-admin: transfer "node-b"`,
	}, m.asked)
	require.Contains(t, h.log.String(), "members were changed")
	requireProblem(t, h.do(RoleAdmin, http.MethodPost, "/v1/cluster/members", `{}`), http.StatusBadRequest, invalidField, "raft")
	requireProblem(t, h.do(RoleAdmin, http.MethodDelete, "/v1/cluster/members/x?force=maybe", ""), http.StatusBadRequest, invalidField, "force")
}

// Every reason has its type, and an outcome that is not known is said to be so.
func TestMembersThatAreKept(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]kind{
		node.Kept(node.KeptUnknown, "x"): notFound, node.Kept(node.KeptQuorum, "x"): quorumAtRisk, node.Kept(node.KeptTolerance, "x"): lessTolerant,
		node.Kept(node.KeptOut, "x"): notLetIn, node.Kept(node.KeptBehind, "x"): notCaughtUp, node.Kept(node.KeptLeader, "x"): canNotLead,
		node.Kept(node.KeptBusy, "x"): membersBusy, fmt.Errorf("y: %w", node.ErrUnknownOutcome): outcomeUnknown, node.ErrNotLeader: noLeader,
	} {
		h := newHarness(t, func(c *Config) { c.Members = &fakeMembers{err: err} })
		w := h.do(RoleAdmin, http.MethodDelete, "/v1/cluster/members/n4-00000000", "")
		requireProblem(t, w, kinds[want].status, want, "")
		require.Contains(t, h.log.String(), "members were not changed as was asked")
	}
	h := newHarness(t)
	requireProblem(t, h.do(RoleAdmin, http.MethodPost, "/v1/cluster/transfer", `{}`), http.StatusConflict, notLetIn, "")
}

// Who leads tells who does not answer it.
func TestSilentMembersAreShown(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.node.mu.Lock()
	h.node.status.Peers[1].Silent, h.node.status.Peers[2].Sealed = true, true
	h.node.mu.Unlock()
	nodes := read[wire.Cluster](t, h.get("/v1/cluster")).Nodes
	require.False(t, nodes[0].Silent || nodes[0].Sealed)
	require.True(t, nodes[1].Silent)
	require.True(t, nodes[2].Sealed)
}
