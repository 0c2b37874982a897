package cluster

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
)

// What an operator has the leader do is on record before it is done, and once more if it
// came to nothing.
func TestActsOfAnOperatorAreOnRecord(t *testing.T) {
	t.Parallel()
	list := places(t, "n1", "n2", "n3")
	founded(t, list)
	var from string
	require.NoError(t, led(t, list, func(l *place) error {
		if l.node.View().Meta().GetFeatureLevel() < fsm.FeatureLevel {
			return node.ErrNotLeader // not yet
		}
		from = l.node.ID()
		return err2(l.cluster.Transfer(t.Context(), alice(), ""))
	}))
	for _, p := range list {
		eventually(t, "the record on "+p.name, func() bool {
			actions := byOperator(p, from)
			return len(actions) > 0 && actions[0] == "leadership.transfer r1"
		})
	}

	promotion := act{"member.promote", "n9-00000000", "it votes"}
	require.NoError(t, led(t, list, func(l *place) error {
		if err := l.cluster.record(t.Context(), alice(), promotion); err != nil {
			return err
		}
		l.cluster.failed(t.Context(), alice(), promotion, node.Kept(node.KeptBehind, "it went away"))
		if len(byOperator(l, promotion.object)) < 2 {
			return node.ErrNotLeader
		}
		for a := range l.node.View().Audit(0) {
			if a.GetObject() == promotion.object && a.GetOutcome() != "done" {
				require.Equal(t, "refused: failed", a.GetOutcome())
				require.Contains(t, a.GetDetail(), "it went away")
			}
		}
		return nil
	}))
}

// A promotion by an operator's word. Nobody lets the member vote by itself meanwhile: the
// founders do not look after members, as if each were in the middle of something else.
func TestPromotionOfAnOperatorIsOnRecord(t *testing.T) {
	t.Parallel()
	list := withStranger(t)
	founders, west := list[:3], list[3]
	eventually(t, "acts can be on record", func() bool {
		return founders[0].node.View().Meta().GetFeatureLevel() == fsm.FeatureLevel
	})
	for _, p := range founders {
		p.rest()
	}
	west.up()
	require.NoError(t, led(t, founders, func(l *place) error { return err2(l.cluster.Join(t.Context(), alice(), west.address)) }))
	id := west.node.ID()
	promote := func(l *place) error { return l.cluster.Promote(t.Context(), alice(), id) }
	var err error
	eventually(t, "it has caught up", func() bool {
		require.NotContains(t, leader(t, founders...).voters(), id, "nobody promotes it but the operator")
		err = led(t, founders, promote)
		kept, is := errors.AsType[*node.MembersKept](err)
		return !is || kept.Code != node.KeptBehind
	})
	require.NoError(t, err)
	for _, p := range list {
		eventually(t, "it votes as "+p.name+" knows it", func() bool { return slices.Contains(p.voters(), id) })
		eventually(t, "the record on "+p.name, func() bool {
			return slices.Contains(byOperator(p, id), "member.promote r1")
		})
	}
	acts := byOperator(leader(t, founders...), id)
	require.NoError(t, led(t, founders, promote), "it votes already")
	require.Equal(t, acts, byOperator(leader(t, founders...), id), "what changes nothing is no act")
}
