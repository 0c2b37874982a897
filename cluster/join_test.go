package cluster

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node"
)

// A node that lost its disk comes back under a new ID, whichever it is, while others
// write; the first one never founds a second cluster.
func TestWipedNodeIsLetInAgain(t *testing.T) {
	t.Parallel()
	for name, pick := range map[string]func(list []*place) *place{
		"the first":       func(list []*place) *place { return list[0] },
		"another":         func(list []*place) *place { return list[2] },
		"the one leading": func(list []*place) *place { return leader(list[0].t, list...) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := places(t, "n1", "n2", "n3")
			list[0].terms, list[1].terms, list[2].terms = "amount=1", "amount=1", "amount=1"
			founded(t, list)
			cluster := list[0].node.View().Meta().GetClusterId()
			lost := pick(list)
			old := lost.node.ID()
			rest := slices.DeleteFunc(slices.Clone(list), func(p *place) bool { return p == lost })
			lost.down()
			stop := writers(t, rest)
			lost.terms, lost.journal = "amount=2", new(journal)
			lost.wipe()
			require.NotEqual(t, old, lost.node.ID())
			requireMembers(t, list...)
			require.Equal(t, cluster, lost.node.View().Meta().GetClusterId())
			require.Equal(t, map[string]string{"n1": terms(list[0])["n1"], "n2": terms(list[1])["n2"], "n3": terms(list[2])["n3"]}, terms(lost))
			require.Nil(t, rest[0].node.View().Member(old), "its terms count no more")
			require.False(t, lost.journal.has("founding the cluster"))
			stop()
			lost.down() // and it remembers
			lost.up()
			requireMembers(t, list...)
		})
	}
}

// With two of three wiped nobody can decide who is a member, and nobody does.
func TestTwoOfThreeWiped(t *testing.T) {
	t.Parallel()
	list := places(t, "n1", "n2", "n3")
	founded(t, list)
	voters := list[2].voters()
	list[0].down()
	list[1].down()
	list[0].wipe()
	list[1].wipe()
	requireWaits(t, list[2], "2 of 3 voters are gone, so nobody can decide any more who is a member")
	for _, p := range list[:2] {
		requireWaits(t, p, "n3 has state already: nobody lets this node in")
		requireWaits(t, p, "2 of 3 voters are gone")
		require.False(t, p.node.HasState())
	}
	require.Equal(t, voters, list[2].voters())
	require.False(t, list[2].node.Status().IsLeader)
}

// A leader that crashes between two steps leaves it to the next one to go on.
func TestLeaderCrashesWhileANodeIsLetIn(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(t *testing.T, l *place, old node.Member, fresh string){
		"before the removal": func(*testing.T, *place, node.Member, string) {},
		"after the removal": func(t *testing.T, l *place, old node.Member, _ string) {
			t.Helper()
			require.NoError(t, l.node.Remove(old.ID, l.configuration().Index))
		},
		"after it was added": func(t *testing.T, l *place, old node.Member, fresh string) {
			t.Helper()
			require.NoError(t, l.node.Remove(old.ID, l.configuration().Index))
			require.NoError(t, l.node.AddLearner(fresh, old.Address, l.configuration().Index))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := places(t, "n1", "n2", "n3", "n4", "n5")
			founded(t, list)
			l := leader(t, list...)
			lost := list[0]
			if lost == l {
				lost = list[1]
			}
			old, found := l.configuration().Find(lost.node.ID())
			require.True(t, found)
			lost.down()
			lost.folder = t.TempDir()
			lost.open() // it has an ID and answers nobody yet
			begin(t, l, old, lost.node.ID())
			l.down()
			rest := slices.DeleteFunc(slices.Clone(list), func(p *place) bool { return p == lost || p == l })
			leader(t, rest...)
			lost.start()
			l.up()
			requireMembers(t, list...)
		})
	}
}

// Whoever was removed while it was away is told so, and disturbs nobody.
func TestRemovedWhileAway(t *testing.T) {
	t.Parallel()
	list := places(t, "n1", "n2", "n3", "n4")
	founded(t, list)
	l := leader(t, list...)
	gone := list[3]
	if gone == l {
		gone = list[0]
	}
	rest := slices.DeleteFunc(slices.Clone(list), func(p *place) bool { return p == gone })
	id := gone.node.ID()
	gone.down()
	l = leader(t, rest...)
	require.NoError(t, l.node.Remove(id, l.configuration().Index))
	gone.up()
	requireWaits(t, gone, "this node was removed from cluster "+l.node.View().Meta().GetClusterId())
	requireWaits(t, gone, "delete its data folder")
	requireMembers(t, rest...)
	term := leader(t, rest...).node.Status().Term
	stop := writers(t, rest)
	eventually(t, "it tried to be elected", func() bool {
		return gone.journal.has("starting election") || gone.journal.has("not part of stable configuration")
	})
	stop()
	require.Equal(t, term, leader(t, rest...).node.Status().Term, "its elections disturb nobody")
	require.Equal(t, id, gone.node.ID(), "its data are as they were")
	gone.wipe()
	requireMembers(t, list...)
}

// A node with the disk of another cluster changes nothing, on either side, and says so.
func TestTwoClustersWithOneName(t *testing.T) {
	t.Parallel()
	list, twins := places(t, "n1", "n2", "n3"), places(t, "n1", "n2", "n3")
	founded(t, list)
	founded(t, twins)
	ours, theirs := list[0].node.View().Meta().GetClusterId(), twins[0].node.View().Meta().GetClusterId()
	require.NotEqual(t, ours, theirs)
	for _, p := range append(twins, list[2]) {
		p.down()
	}
	voters, mixed := list[0].voters(), list[2]
	mixed.folder = twins[2].folder
	mixed.up()
	requireWaits(t, mixed, "is of cluster "+theirs)
	requireWaits(t, mixed, "cluster "+ours+": two clusters under one name. Nothing was changed")
	require.Equal(t, voters, list[0].voters())
	require.Equal(t, theirs, mixed.node.ClusterID())
	mixed.wipe() // the way out
	requireMembers(t, list...)
}

// Three become five and three again while others write, one of those who go leading.
func TestGrowAndShrink(t *testing.T) {
	t.Parallel()
	list, scale := replicas(t, 3, 5)
	founded(t, list[:3])
	list[3].up()
	requireWaits(t, list[3], "n4 is not wanted: 3 replicas are")
	scale.replicas.Store(5)
	stop := writers(t, list[:4])
	list[4].up()
	requireMembers(t, list...)
	stop()
	for _, p := range list {
		require.False(t, p != list[0] && p.journal.has("founding the cluster"))
	}
	eventually(t, "one that will not be wanted leads", func() bool {
		l := leader(t, list...)
		if l == list[3] || l == list[4] {
			return true
		}
		require.NoError(t, l.node.PassOn(t.Context(), func(id string) bool { return node.NameOf(id) == "n5" || node.NameOf(id) == "n4" }))
		return false
	})
	list[0].wipe() // and is let in by a leader that none of the founders is
	requireMembers(t, list...)
	scale.replicas.Store(3)
	eventually(t, "it hands over", func() bool {
		l := leader(t, list...)
		return l != list[3] && l != list[4]
	})
	require.Len(t, list[0].voters(), 5, "who answers stays")
	stop = writers(t, list[:3])
	list[3].down()
	list[4].down()
	requireMembers(t, list[:3]...)
	stop()

	scale.replicas.Store(2) // never fewer than three voters
	list[2].down()
	eventually(t, "it says why", func() bool {
		return list[0].journal.has("fewer than 3 voters are too few") || list[1].journal.has("fewer than 3 voters are too few")
	})
	require.Len(t, list[0].voters(), 3)
	list[2].up()
	scale.replicas.Store(5)
	list[3].up() // with its old disk
	requireWaits(t, list[3], "this node was removed")
	list[3].wipe()
	list[4].wipe()
	requireMembers(t, list...)
}

// Who has no certificate for its host, or is of another kind, is not let in.
func TestStrangersDoNotJoin(t *testing.T) {
	t.Parallel()
	list, scale := replicas(t, 3, 5)
	founded(t, list[:3])
	scale.replicas.Store(5)
	list[3].name, list[3].folder = "other-4", t.TempDir()
	list[3].up()
	requireWaits(t, list[3], "refused: other-4 at "+list[3].address+" is none of the founders")
	// n4 can not speak for n5, though both are of the kind.
	q := joinRequest{ID: "n5-00000000", Name: "n5", Raft: list[4].address}
	_, err := newPeers(list[3].config()).join(t.Context(), leader(t, list[:3]...).address, q)
	require.ErrorContains(t, err, "not proven to be a member")
	require.Len(t, list[0].voters(), 3)
	require.Len(t, list[0].configuration().Members, 3)
}

// What would change the members is not done as long as the old node answers.
func TestOldSelfStillAnswers(t *testing.T) {
	t.Parallel()
	list := places(t, "n1", "n2", "n3")
	founded(t, list)
	l := leader(t, list...)
	victim := list[0]
	if victim == l {
		victim = list[1]
	}
	q := joinRequest{ID: victim.name + "-00000000", Name: victim.name, Raft: victim.address, ClusterID: l.node.ClusterID()}
	eventually(t, "the reason is said", func() bool {
		a, err := newPeers(victim.config()).join(t.Context(), l.address, q)
		require.NoError(t, err)
		require.Equal(t, verdictWait, a.Verdict) // also while the leader has not asked the others yet
		return strings.Contains(a.Detail, victim.node.ID()+" answers at "+victim.address)
	})
	require.Contains(t, l.voters(), victim.node.ID())
	for name, tc := range map[string]struct {
		change func(q *joinRequest)
		want   string
	}{
		"malformed ID":    {func(q *joinRequest) { q.ID = "x" }, "malformed"},
		"another's name":  {func(q *joinRequest) { q.Name = "n9" }, "malformed"},
		"no address":      {func(q *joinRequest) { q.Raft = "" }, "malformed"},
		"no cluster's ID": {func(q *joinRequest) { q.ClusterID = "evil" }, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := q
			tc.change(&bad)
			_, err := newPeers(victim.config()).join(t.Context(), l.address, bad)
			require.ErrorContains(t, err, tc.want)
		})
	}
}
