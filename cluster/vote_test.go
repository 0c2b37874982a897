package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node"
)

// Only who answers under its own ID, for this cluster, and lacks little may vote.
func TestWhoMayNotVote(t *testing.T) {
	t.Parallel()
	c, m := &court{clusterID: "c0de"}, node.Member{ID: "n4-0a", Address: "n4:8300"}
	const commit = 1000
	for name, tc := range map[string]struct {
		id   Identity
		err  error
		says string // empty: it may
	}{
		"has all":         {Identity{ID: "n4-0a", ClusterID: "c0de", Applied: commit}, nil, ""},
		"is ahead":        {Identity{ID: "n4-0a", ClusterID: "c0de", Applied: commit + 9}, nil, ""},
		"lacks little":    {Identity{ID: "n4-0a", ClusterID: "c0de", Applied: commit - node.PromoteWithin}, nil, ""},
		"lacks one more":  {Identity{ID: "n4-0a", ClusterID: "c0de", Applied: commit - node.PromoteWithin - 1}, nil, "catches up: it lacks 65 log entries"},
		"has nothing":     {Identity{ID: "n4-0a", ClusterID: "c0de"}, nil, "catches up: it lacks 1000 log entries"},
		"silent":          {Identity{}, errSilent, "does not answer"},
		"another disk":    {Identity{ID: "n4-0b", ClusterID: "c0de", Applied: commit}, nil, "n4-0b is at n4:8300"},
		"another cluster": {Identity{ID: "n4-0a", ClusterID: "beef", Applied: commit}, nil, "does not know yet that it is of cluster c0de"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			why := c.mayNotVote(m, tc.id, tc.err, commit)
			if tc.says == "" {
				require.Empty(t, why)
				return
			}
			require.Contains(t, why, tc.says)
		})
	}
}

// Leadership is handed to nobody who would hand it back, or can not use it.
func TestWhoCanNotLead(t *testing.T) {
	t.Parallel()
	voter, well := node.Member{ID: "n4-0a", Address: "n4:8300", Voter: true}, Identity{ID: "n4-0a"}
	for name, tc := range map[string]struct {
		change func(m *node.Member, id *Identity, err *error)
		says   string // empty: it can
	}{
		"well":         {func(*node.Member, *Identity, *error) {}, ""},
		"no vote":      {func(m *node.Member, _ *Identity, _ *error) { m.Voter = false }, "does not vote"},
		"silent":       {func(_ *node.Member, _ *Identity, err *error) { *err = errSilent }, "does not answer"},
		"another disk": {func(_ *node.Member, id *Identity, _ *error) { id.ID = "n4-0b" }, "lost its disk: n4-0b"},
		"sealed":       {func(_ *node.Member, id *Identity, _ *error) { id.Sealed = true }, "is sealed"},
		"low disk":     {func(_ *node.Member, id *Identity, _ *error) { id.LowDisk, id.Unfit = true, true }, "free space"},
		"unfit":        {func(_ *node.Member, id *Identity, _ *error) { id.Unfit = true }, "should not lead"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, id, err := voter, well, error(nil)
			tc.change(&m, &id, &err)
			why := canNotLead(m, id, err)
			if tc.says == "" {
				require.Empty(t, why)
				return
			}
			require.Contains(t, why, tc.says)
		})
	}
}
