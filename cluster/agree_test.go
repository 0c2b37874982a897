package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

func TestMostHave(t *testing.T) {
	t.Parallel()
	at := func(index uint64, hash string) *fsmpb.Mark { return &fsmpb.Mark{Index: index, Hash: []byte(hash)} }
	for name, tc := range map[string]struct {
		own       *fsmpb.Mark
		members   []*fsmpb.Mark // voters' marks
		learners  []*fsmpb.Mark
		want      *fsmpb.Mark
		undecided string
	}{
		"no mark yet":                 {nil, []*fsmpb.Mark{nil, nil, nil}, nil, nil, ""},
		"all agree":                   {at(7, "a"), []*fsmpb.Mark{at(7, "a"), at(7, "a"), at(7, "a")}, nil, at(7, "a"), ""},
		"one has not come so far":     {at(7, "a"), []*fsmpb.Mark{at(7, "a"), at(7, "a"), at(5, "x")}, nil, at(7, "a"), ""},
		"one differs":                 {at(7, "a"), []*fsmpb.Mark{at(7, "a"), at(7, "b"), at(7, "a")}, nil, at(7, "a"), ""},
		"the leader differs":          {at(7, "b"), []*fsmpb.Mark{at(7, "b"), at(7, "a"), at(7, "a")}, nil, at(7, "a"), ""},
		"one differs, one is away":    {at(7, "a"), []*fsmpb.Mark{at(7, "a"), at(7, "b"), nil}, nil, nil, "before entry 7 n1 has 61 n2 has 62"},
		"too few were heard":          {at(7, "a"), []*fsmpb.Mark{at(7, "a"), nil, nil}, nil, nil, ""},
		"who does not vote counts no": {at(7, "a"), []*fsmpb.Mark{at(7, "a"), nil, nil}, []*fsmpb.Mark{at(7, "a"), at(7, "a")}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var list []node.Peer
			for i, m := range tc.members {
				list = append(list, node.Peer{ID: "n" + string(rune('1'+i)), Voter: true, Mark: m})
			}
			for _, m := range tc.learners {
				list = append(list, node.Peer{ID: "l", Mark: m})
			}
			got, undecided := mostHave(tc.own, list)
			require.Equal(t, tc.want.GetIndex(), got.GetIndex())
			require.Equal(t, string(tc.want.GetHash()), string(got.GetHash()))
			require.Equal(t, tc.undecided, undecided)
		})
	}
}

func TestLevelOfAll(t *testing.T) {
	t.Parallel()
	require.Zero(t, levelOfAll(nil))
	require.Equal(t, uint32(2), levelOfAll([]node.Peer{{FeatureLevel: 3}, {FeatureLevel: 2}, {FeatureLevel: 2}}))
	require.Zero(t, levelOfAll([]node.Peer{{FeatureLevel: 3}, {}}), "one is of an old version, or was not heard")
}

// Members raise the level by themselves, only once all of them are there, and compare
// each other from then on.
func TestMembersAreCompared(t *testing.T) {
	t.Parallel()
	list := places(t, "n1", "n2", "n3")
	for _, p := range list {
		p.up()
	}
	lead := leader(t, list...)
	for _, p := range list {
		eventually(t, "the level on "+p.name, func() bool { return p.node.View().Meta().GetFeatureLevel() == fsm.FeatureLevel })
	}
	eventually(t, "a comparison", func() bool {
		for _, p := range list {
			if p.journal.has("members were compared") {
				return true
			}
		}
		return false
	})
	require.NotEmpty(t, lead.node.View().Meta().GetRunningHash())
}

// A member that is away may have an old program: the level waits for it.
func TestLevelWaitsForAll(t *testing.T) {
	t.Parallel()
	list := places(t, "n1", "n2", "n3")
	for _, p := range list {
		p.up()
	}
	lead := leader(t, list...)
	status := lead.node.Status()
	for i := range status.Peers {
		status.Peers[i].FeatureLevel = fsm.FeatureLevel + 1
	}
	status.Peers[2].FeatureLevel = 0
	before := lead.node.View().Meta().GetFeatureLevel()
	require.NoError(t, newPeers(Config{Node: lead.node, Link: lead.link}).raise(t.Context(), status))
	require.GreaterOrEqual(t, lead.node.View().Meta().GetFeatureLevel(), before)
	require.LessOrEqual(t, lead.node.View().Meta().GetFeatureLevel(), uint32(fsm.FeatureLevel))
}

// Members that differ while none has a majority are a reason not to be ready.
func TestReportOfMembersThatDiffer(t *testing.T) {
	t.Parallel()
	r := &Report{}
	r.set("")
	require.True(t, r.Check().OK)
	r.differ("n1 has 61, n2 has 62")
	require.False(t, r.Check().OK)
	require.Contains(t, r.Check().Detail, "n2 has 62")
	r.differ("")
	require.True(t, r.Check().OK)
}
