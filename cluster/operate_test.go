package cluster

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// alice is the operator of these tests.
func alice() node.Asker {
	return node.Asker{Caller: &fsmpb.Caller{Name: "alice", Role: "admin", Remote: "192.0.2.1"}, RequestID: "r1"}
}

// requireKept checks why members were left as they are.
func requireKept(t *testing.T, err error, code node.KeptCode, text string) {
	t.Helper()
	kept, ok := errors.AsType[*node.MembersKept](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, code, kept.Code, kept.Detail)
	require.Contains(t, kept.Detail, text)
}

// byOperator are the actions that the audit has in an operator's name about a node.
func byOperator(p *place, id string) (actions []string) {
	for a := range p.node.View().Audit(0) {
		if a.GetCaller().GetName() == "alice" && a.GetObject() == id {
			actions = append(actions, a.GetAction()+" "+a.GetRequestId())
		}
	}
	return actions
}

// A node of any name is let in by an operator's word, votes by itself, leads, and is
// removed again; the founders stay.
func TestOperatorLetsInAndRemoves(t *testing.T) {
	t.Parallel()
	list := withStranger(t)
	founders, west := list[:3], list[3]
	l := leader(t, founders...)
	join := func(l *place) error { return err2(l.cluster.Join(t.Context(), alice(), west.address)) }
	requireKept(t, led(t, founders, join), node.KeptOut, "does not answer")
	west.up()
	requireWaits(t, west, "none of the founders, nor of their kind")
	require.NoError(t, led(t, founders, join))
	requireMembers(t, list...)
	id := west.node.ID()
	require.Equal(t, []string{"member.set r1"}, byOperator(l, id))
	require.NoError(t, led(t, list, func(l *place) error {
		again, err := l.cluster.Join(t.Context(), alice(), west.address)
		if err == nil {
			require.Equal(t, node.Member{ID: id, Address: west.address, Voter: true}, again, "once more changes nothing")
		}
		return err
	}))
	require.NoError(t, led(t, list, func(l *place) error { return l.cluster.Promote(t.Context(), alice(), id) }), "it votes already")
	require.NoError(t, led(t, list, func(l *place) error {
		next, err := l.cluster.Transfer(t.Context(), alice(), id)
		if err == nil && next != "" {
			require.Equal(t, id, next)
		}
		return err
	}))
	for _, p := range founders {
		if !p.node.Status().IsLeader {
			require.ErrorIs(t, join(p), node.ErrNotLeader)
			require.ErrorIs(t, p.cluster.Remove(t.Context(), alice(), id, false), node.ErrNotLeader)
		}
	}
	// Four bear no more losses than three, so this needs no force; but it leads, and
	// hands over first.
	eventually(t, "it is removed", func() bool {
		for _, p := range list { // whoever leads, which is west again if the machine is busy
			if p.node.Status().IsLeader && p.cluster.Remove(t.Context(), alice(), id, false) == nil {
				l = p
				return true
			}
		}
		return false
	})
	requireMembers(t, founders...)
	requireKept(t, led(t, founders, func(l *place) error { return l.cluster.Remove(t.Context(), alice(), id, false) }), node.KeptUnknown, id)
	require.Contains(t, byOperator(l, id), "member.remove r1")
	requireWaits(t, west, "this node was removed from cluster")
	require.NoError(t, west.leave())
	west.open() // with the data that it had
	west.start()
	requireKept(t, led(t, founders, join), node.KeptOut, "is no member of cluster")
}

// led has whoever leads do something, again if another one leads by then.
func led(t *testing.T, list []*place, do func(l *place) error) (err error) {
	t.Helper()
	eventually(t, "somebody leads and answers", func() bool {
		for _, p := range list {
			if p.node.Status().IsLeader {
				err = do(p)
				return !errors.Is(err, node.ErrNotLeader) && !errors.Is(err, node.ErrUnknownOutcome)
			}
		}
		return false
	})
	return err
}

func err2[T any](_ T, err error) error { return err }

// silentOf are those that this leader does not know to answer.
func silentOf(p *place) (ids []string) {
	for _, peer := range p.node.Status().Peers {
		if peer.Silent || peer.Lag < 0 {
			ids = append(ids, peer.ID)
		}
	}
	return ids
}

// What would lose the quorum is refused whatever is forced, what makes the cluster bear
// less is refused without force, and a voter that is gone anyhow is removed.
func TestOperatorCanNotLoseTheQuorum(t *testing.T) {
	t.Parallel()
	list := places(t, "n1", "n2", "n3")
	founded(t, list)
	l := leader(t, list...)
	rest := []*place{}
	for _, p := range list {
		if p != l {
			rest = append(rest, p)
		}
	}
	answers, gone := rest[0].node.ID(), rest[1].node.ID()
	eventually(t, "all are known to answer", func() bool { return len(silentOf(l)) == 0 })
	requireKept(t, l.cluster.Remove(t.Context(), alice(), answers, false), node.KeptTolerance, "the loss of 0 voters instead of 1")
	rest[1].down()
	eventually(t, "it is known to be silent", func() bool { return strings.Contains(strings.Join(silentOf(l), " "), gone) })
	for _, force := range []bool{false, true} {
		requireKept(t, l.cluster.Remove(t.Context(), alice(), answers, force), node.KeptQuorum, "1 of the other 2 voters answer")
		requireKept(t, l.cluster.Remove(t.Context(), alice(), l.node.ID(), force), node.KeptQuorum, "bring those back, or remove them first")
	}
	_, err := l.cluster.Transfer(t.Context(), alice(), gone)
	requireKept(t, err, node.KeptLeader, gone+" does not answer")
	requireKept(t, err2(l.cluster.Transfer(t.Context(), alice(), "n9-00000000")), node.KeptUnknown, "n9")
	require.Empty(t, byOperator(l, answers), "nothing was changed")

	require.NoError(t, l.cluster.Remove(t.Context(), alice(), gone, false))
	requireMembers(t, l, rest[0])
	eventually(t, "all are known to answer", func() bool { return len(silentOf(l)) == 0 })
	// Two bear as little as one.
	require.NoError(t, l.cluster.Remove(t.Context(), alice(), answers, false))
	require.Equal(t, []string{l.node.ID()}, l.voters())
	requireKept(t, l.cluster.Remove(t.Context(), alice(), l.node.ID(), true), node.KeptQuorum, "the only voter")
	_, err = l.cluster.Transfer(t.Context(), alice(), "")
	requireKept(t, err, node.KeptLeader, "there is no other voter")
	require.NoError(t, err2(l.cluster.Transfer(t.Context(), alice(), l.node.ID())), "it leads already")
}

// Nobody votes by an operator's word who would only slow the others down.
func TestOperatorPromotes(t *testing.T) {
	t.Parallel()
	list := places(t, "n1", "n2", "n3")
	founded(t, list)
	l := leader(t, list...)
	requireKept(t, l.cluster.Promote(t.Context(), alice(), "n9-00000000"), node.KeptUnknown, "n9")
	require.NoError(t, l.node.AddLearner("n9-00000000", "127.0.0.1:1", l.configuration().Index))
	requireKept(t, l.cluster.Promote(t.Context(), alice(), "n9-00000000"), node.KeptBehind, "does not answer")
	require.NoError(t, l.cluster.Remove(t.Context(), alice(), "n9-00000000", false), "a member without a vote needs no force")
	require.Equal(t, []string{"member.set r1", "member.remove r1"}, byOperator(l, "n9-00000000"), "also one that was on no record")
	for _, bad := range []string{"", "n4", "n4:", ":8300"} {
		requireKept(t, err2(l.cluster.Join(t.Context(), alice(), bad)), node.KeptOut, "no HOST:PORT")
	}
}

// A node that has data, or is about to found a cluster, takes no invitation.
func TestInvitations(t *testing.T) {
	t.Parallel()
	list := places(t, "n1", "n2", "n3")
	list[0].up()
	p := list[0].cluster.peers
	require.Contains(t, p.declines(invitation{ClusterID: "c0de"}), "one of the founders")
	other := places(t, "a1", "a2", "a3")
	founded(t, other)
	requireKept(t, err2(leader(t, other...).cluster.Join(t.Context(), alice(), list[0].address)), node.KeptOut, "asks by itself")
	require.Empty(t, list[0].node.ClusterID())
	require.Contains(t, other[0].cluster.peers.declines(invitation{ClusterID: "c0de"}), "has data of cluster")
}
