package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node"
)

// here is a court of ks-0, ks-1 (which leads) and ks-2, founded by these three.
func here(change func(c *court)) *court {
	founders := []Peer{{"ks-0", "ks-0.p:1"}, {"ks-1", "ks-1.p:1"}, {"ks-2", "ks-2.p:1"}}
	c := &court{clusterID: "c0de", founders: founders, pattern: PatternOf(founders), wanted: -1, alive: map[string]bool{}}
	for i, f := range founders {
		id := f.Name + "-0000000a"
		c.config.Members = append(c.config.Members, node.Member{ID: id, Address: f.Raft, Voter: true})
		c.alive[id] = i > 0 // ks-0 was lost
	}
	c.ordinal = func(name string) (int, bool) {
		_, i, ok := ordinalOf(name)
		return i, ok
	}
	change(c)
	return c
}

func TestJudge(t *testing.T) {
	t.Parallel()
	asks := func(name, suffix string) joinRequest {
		return joinRequest{ID: name + "-0000000" + suffix, Name: name, Raft: name + ".p:1", ClusterID: "c0de", Joining: true}
	}
	as := func(q joinRequest, change func(q *joinRequest)) joinRequest { change(&q); return q }
	same := func(*court) {}
	for name, tc := range map[string]struct {
		change func(c *court)
		q      joinRequest
		want   verdict
		does   deed
		says   string
	}{
		"lost its disk":                {same, asks("ks-0", "b"), verdictAdded, deed{remove: "ks-0-0000000a", add: true}, ""},
		"a further one":                {same, asks("ks-3", "b"), verdictAdded, deed{add: true}, ""},
		"after the removal":            {func(c *court) { c.config = c.config.Without("ks-0-0000000a") }, asks("ks-0", "b"), verdictAdded, deed{add: true}, ""},
		"has to remember first":        {same, as(asks("ks-0", "b"), func(q *joinRequest) { q.ClusterID, q.Joining = "", false }), verdictInvited, deed{}, ""},
		"with a log, on its way":       {same, as(asks("ks-3", "b"), func(q *joinRequest) { q.HasState = true }), verdictAdded, deed{add: true}, ""},
		"with a log, and a member":     {same, as(asks("ks-2", "a"), func(q *joinRequest) { q.HasState, q.Joining = true, false }), verdictMember, deed{}, ""},
		"with a log, and removed":      {same, as(asks("ks-2", "b"), func(q *joinRequest) { q.HasState, q.Joining = true, false }), verdictRemoved, deed{}, "no member of cluster c0de any more"},
		"with a log of nobody knows":   {same, as(asks("ks-2", "b"), func(q *joinRequest) { q.HasState, q.Joining, q.ClusterID = true, false, "" }), verdictOther, deed{}, "of which it does not know the cluster"},
		"of another cluster":           {same, as(asks("ks-0", "b"), func(q *joinRequest) { q.ClusterID = "beef" }), verdictOther, deed{}, "two clusters under one name"},
		"its ID at another address":    {same, as(asks("ks-2", "a"), func(q *joinRequest) { q.Raft = "ks-3.p:1" }), verdictRefused, deed{}, "is known at ks-2.p:1"},
		"its name at another address":  {same, as(asks("ks-2", "b"), func(q *joinRequest) { q.Raft = "x.p:1" }), verdictRefused, deed{}, "none of the founders"},
		"another kind":                 {same, asks("evil-3", "b"), verdictRefused, deed{}, "none of the founders"},
		"no kind known, and a founder": {func(c *court) { c.pattern = Pattern{} }, asks("ks-0", "b"), verdictAdded, deed{remove: "ks-0-0000000a", add: true}, ""},
		"no kind known, a further one": {func(c *court) { c.pattern = Pattern{} }, asks("ks-3", "b"), verdictRefused, deed{}, "none of the founders"},
		"an old program":               {func(c *court) { c.level = 2 }, as(asks("ks-0", "b"), func(q *joinRequest) { q.FeatureLevel = 1 }), verdictRefused, deed{}, "knows feature level 1, and the cluster is at 2"},
		"not wanted":                   {func(c *court) { c.wanted = 3 }, asks("ks-3", "b"), verdictWait, deed{}, "3 replicas are"},
		"wanted":                       {func(c *court) { c.wanted = 4 }, asks("ks-3", "b"), verdictAdded, deed{add: true}, ""},
		"the others do not answer":     {func(c *court) { c.alive["ks-2-0000000a"] = false }, asks("ks-0", "b"), verdictWait, deed{}, "1 of the other 2 voters answer, which is no majority"},
		"a lost one that did not vote": {func(c *court) { c.config.Members[0].Voter = false; c.alive["ks-2-0000000a"] = false }, asks("ks-0", "b"), verdictAdded, deed{remove: "ks-0-0000000a", add: true}, ""},
		"another name is there":        {func(c *court) { c.config.Members[0].ID = "old-0000000a" }, asks("ks-0", "b"), verdictRefused, deed{}, "old-0000000a is at ks-0.p:1 already"},
		"the name is elsewhere":        {func(c *court) { c.config.Members[0].Address = "other.p:1" }, asks("ks-0", "b"), verdictRefused, deed{}, "has its name"},
		"too many": {func(c *court) {
			for range maxMembers {
				c.config.Members = append(c.config.Members, node.Member{ID: "x-0000000a", Address: "x:1"})
			}
		}, asks("ks-3", "b"), verdictRefused, deed{}, "as many as there may be"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, tc.q.check())
			a, does := here(tc.change).judge(tc.q)
			require.Equal(t, tc.want, a.Verdict, a.Detail)
			require.Equal(t, tc.does, does)
			require.Equal(t, "c0de", a.ClusterID)
			if require.Contains(t, a.Detail, tc.says); tc.says == "" {
				require.Empty(t, a.Detail)
			}
		})
	}
}
