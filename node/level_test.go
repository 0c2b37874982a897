package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// A command above the feature level does not come to the log, where it would stop every
// node of an older version.
func TestCommandAboveTheLevelIsNotLogged(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, calm)
	lead := c.leader()
	confirm := func() *fsmpb.Command {
		return &fsmpb.Command{Body: &fsmpb.Command_ConfirmToken{ConfirmToken: &fsmpb.ConfirmToken{Id: "none"}}}
	}
	before := lead.raft.LastIndex()
	_, err := lead.Propose(t.Context(), confirm())
	require.ErrorIs(t, err, fsm.Refused(fsm.FeatureRefused))
	require.Equal(t, before, lead.raft.LastIndex(), "it was logged")
	_, err = lead.Propose(t.Context(), &fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	require.NoError(t, err)
	_, err = lead.Propose(t.Context(), confirm())
	require.ErrorIs(t, err, fsm.Refused(fsm.NotFound))
}
