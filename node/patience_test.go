package node

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A leader that can not open secrets any more gives its office to one that can,
// and takes none until it can again.
func TestLeaderThatBecomesSealedHandsOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	var old *member
	for sealed := false; !sealed; { // on a busy machine it may lose its office before, for no such reason
		if old != nil {
			old.vault.unseal()
		}
		old = c.leader()
		old.vault.seal("its key is gone")
		eventually(t, "another leads", func() bool { return c.leader() != old })
		sealed = old.journal.has("its key is gone")
	}
	c.done("x")
	eventually(t, "the sealed one is patient", func() bool {
		return old.raft.ReloadableConfig().ElectionTimeout == sealedPatience*old.cfg.ElectionTimeout
	})
	old.vault.unseal()
	eventually(t, "and as quick as the others again", func() bool {
		return old.raft.ReloadableConfig().ElectionTimeout == old.cfg.ElectionTimeout
	})
}

// Where nobody could take over, a sealed leader goes on: it still replicates.
func TestLeaderOfSealedNodesGoesOn(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	m := c.leader()
	m.vault.seal("its key is gone")
	eventually(t, "it tries to hand over", func() bool { return m.journal.has("no other node takes the leadership") })
	require.Same(t, m, c.leader())
	c.done("x")
}
