package node

import (
	"context"
	"time"
)

// patienceInterval is how often a node looks whether it became sealed or unsealed.
const patienceInterval = 500 * time.Millisecond

// heedSeal lets a node that is sealed, or should not lead for another reason, wait longer
// between its candidacies for as long as that is so. It does not wait longer for a dead
// leader: a node that believes in one refuses the others its vote. One that becomes sealed
// while it leads hands over, if it is sealed at two looks.
func (n *Node) heedSeal(ctx context.Context) {
	for sealed := 0; ; {
		reason, usable := n.cfg.Vault.Usable(n.View())
		n.setPatience(usable && n.unfit() == "")
		if sealed++; usable || n.session.Load() == nil {
			sealed = 0
		}
		if sealed > 1 && sealed&(sealed-1) == 0 { // more and more rarely
			n.log.Warn("this node leads and can not open secrets any more: it hands leadership over", "reason", reason)
			if err := n.handOver(ctx); err != nil {
				n.log.Warn("no other node takes the leadership", "error", err)
			}
		}
		if pause(ctx, patienceInterval) != nil {
			return
		}
	}
}

func (n *Node) setPatience(usable bool) {
	rc := n.raft.ReloadableConfig()
	want := n.cfg.ElectionTimeout
	if !usable {
		want *= sealedPatience
	}
	if rc.ElectionTimeout == want {
		return
	}
	rc.ElectionTimeout = want
	if err := n.raft.ReloadConfig(rc); err != nil {
		n.log.Warn("the election time-out could not be changed", "error", err)
	}
}
