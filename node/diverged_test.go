package node

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// A node whose state is not what most others have stops and says so; the others go on.
func TestNodeThatDiffersStops(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, calm)
	lead := c.leader()
	propose := func(cmd *fsmpb.Command) {
		t.Helper()
		_, err := lead.Propose(t.Context(), cmd)
		require.NoError(t, err)
	}
	checkpoint := func(confirmed *fsmpb.Mark) {
		t.Helper()
		propose(&fsmpb.Command{Body: &fsmpb.Command_Checkpoint{Checkpoint: &fsmpb.Checkpoint{Confirmed: confirmed}}})
	}
	propose(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	c.agree()
	victim, other := c.others(lead)[0], c.others(lead)[1]
	// An entry that no other node has, as a fault of the disk or of the program would leave it.
	meta := victim.View().Meta()
	_, err := victim.replica.machine.Apply(meta.GetAppliedIndex(), meta.GetSession(), tickOf(t, meta.GetSession()))
	require.NoError(t, err)

	checkpoint(nil)
	checkpoint(lead.View().Meta().GetMark())
	eventually(t, "it stops", func() bool {
		select {
		case err := <-victim.Failed():
			require.ErrorIs(t, err, fsm.ErrDiverged)
			require.ErrorContains(t, err, "start the node with an empty one")
			return true
		default:
			return false
		}
	})
	at := victim.View().Meta().GetAppliedIndex()
	checkpoint(lead.View().Meta().GetMark())
	eventually(t, "the other goes on", func() bool { return proto.Equal(other.View().Meta(), lead.View().Meta()) })
	require.Equal(t, at, victim.View().Meta().GetAppliedIndex(), "nothing is applied there any more")
}

func tickOf(t *testing.T, session uint64) []byte {
	t.Helper()
	b, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{{
		Version: fsm.CommandVersion, Session: session, Body: &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: 1}},
	}}})
	require.NoError(t, err)
	return b
}
