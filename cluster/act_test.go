package cluster

import (
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
