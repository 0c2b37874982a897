package restoring

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// overthrown is a leader that loses its office at the end of a restore: what is staged is
// in a real state, and what becomes of the last command it is not told.
type overthrown struct {
	t       *testing.T
	state   *fsm.Machine
	index   uint64
	session uint64
	// last says whether the last command comes before the next session.
	last bool
}

func (o *overthrown) View() *fsm.View { return o.state.View() }

func (o *overthrown) Propose(_ context.Context, cmd *fsmpb.Command) (any, error) {
	if cmd.GetFinishRestore() == nil {
		return nil, o.apply(cmd)
	}
	if o.last {
		require.NoError(o.t, o.apply(cmd))
	}
	o.begin()
	return nil, node.ErrUnknownOutcome
}

func (o *overthrown) begin() {
	o.session++
	require.NoError(o.t, o.apply(&fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n1", NewClusterId: "c1"}}}))
}

func (o *overthrown) apply(cmd *fsmpb.Command) error {
	cmd.Version = fsm.CommandVersion
	if cmd.GetBeginSession() == nil {
		cmd.Session = o.session
	}
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{cmd}})
	require.NoError(o.t, err)
	o.index++
	results, err := o.state.Apply(o.index, o.session, entry)
	require.NoError(o.t, err)
	return results[0].Err()
}

// With the next session what is staged is gone, so a restore that did not happen by then
// never will: that is known at once, and it may be tried again.
func TestOutcomeIsKnownWithTheNextSession(t *testing.T) {
	t.Parallel()
	file := stateFile(t, same)
	for name, last := range map[string]bool{"it happened": true, "it never will": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := receive(t, newRestorer(t), file)
				o := &overthrown{t: t, state: fsm.New(), last: last}
				o.begin()
				require.NoError(t, o.apply(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}}))
				began := time.Now()
				done, err := f.Restore(t.Context(), o, Ask{}, Wish{})
				require.Less(t, time.Since(began), time.Second)
				if last {
					require.NoError(t, err)
					require.Equal(t, Done{Number: 1}, done)
					return
				}
				require.ErrorIs(t, err, ErrStaging)
				require.ErrorIs(t, err, errForgotten)
				require.NotErrorIs(t, err, node.ErrUnknownOutcome)
				require.Zero(t, o.View().Meta().GetRestore().GetNumber())
			})
		})
	}
}
