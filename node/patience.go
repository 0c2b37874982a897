package node

import (
	"context"
	"time"
)

// patienceInterval is how often a node looks whether it became sealed or unsealed.
const patienceInterval = 500 * time.Millisecond

// adaptPatience lets a sealed node wait longer between its candidacies, for as
// long as it is sealed. It does not wait longer for a dead leader: a node that
// believes in one refuses the others its vote.
func (n *Node) adaptPatience(ctx context.Context) {
	for {
		rc := n.raft.ReloadableConfig()
		want := n.cfg.ElectionTimeout
		if _, usable := n.cfg.Vault.Usable(n.View()); !usable {
			want *= sealedPatience
		}
		if rc.ElectionTimeout != want {
			rc.ElectionTimeout = want
			if err := n.raft.ReloadConfig(rc); err != nil {
				n.log.Warn("the election time-out could not be changed", "error", err)
			}
		}
		if pause(ctx, patienceInterval) != nil {
			return
		}
	}
}
