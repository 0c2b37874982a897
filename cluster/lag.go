package cluster

import (
	"context"
	"sync"

	"github.com/keysteward/keysteward/node"
)

// watchLag asks the other members how far they are, while this node leads.
func watchLag(ctx context.Context, n *node.Node, p *peers) error {
	for {
		if status := n.Status(); status.IsLeader {
			var asked sync.WaitGroup // at once, so that one that is silent hides no other
			for _, peer := range status.Peers {
				if peer.ID != n.ID() {
					asked.Go(func() { askLag(ctx, n, p, peer) })
				}
			}
			asked.Wait()
		}
		if err := pause(ctx, lagInterval); err != nil {
			return err
		}
	}
}

func askLag(ctx context.Context, n *node.Node, p *peers, peer node.Peer) {
	ctx, cancel := context.WithTimeout(ctx, lagInterval)
	defer cancel()
	if id, err := p.identity(ctx, peer.Raft); err == nil && id.ID == peer.ID {
		n.Report(peer.ID, node.Heard{
			Applied: id.Applied, Sealed: id.Sealed, LowDisk: id.LowDisk, Unfit: id.Unfit, FeatureLevel: id.FeatureLevel, Mark: id.Mark,
		})
	} else {
		n.Forget(peer.ID)
	}
}
