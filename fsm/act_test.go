package fsm

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestActsAreOnRecord(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	before := r.View().Meta().GetNextAudit()
	r.ok(&fsmpb.RecordAct{Action: "backup.make", Object: "f", Detail: "index 9"})
	r.ok(&fsmpb.RecordAct{Action: "member.promote", Object: "n2", Detail: "it went away", Failed: "busy"})
	r.refused(Invalid, &fsmpb.RecordAct{Object: "f"})
	list := slices.Collect(r.View().Audit(before + 1))
	require.Len(t, list, 3)
	require.Equal(t, []string{"tester", "backup.make", "f", "index 9", audit.OutcomeDone},
		[]string{list[0].GetCaller().GetName(), list[0].GetAction(), list[0].GetObject(), list[0].GetDetail(), list[0].GetOutcome()})
	require.Equal(t, audit.Refused("busy"), list[1].GetOutcome())
	require.NoError(t, r.View().Check(), "the chain")
}

// A node of the version before would stop at it.
func TestActsNeedTheFeatureLevel(t *testing.T) {
	t.Parallel()
	r := &replica{Machine: New(), t: t, term: 1}
	r.ok(&fsmpb.BeginSession{NodeId: "n1", NewClusterId: "c"})
	act := command(1, 1, &fsmpb.RecordAct{Action: "a"})
	require.ErrorIs(t, r.View().Accepts(act), Refused(FeatureRefused))
	require.ErrorIs(t, r.apply(act)[0].Err(), Refused(FeatureRefused))
}
