package node

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// Snapshot writes a snapshot now, whatever the log's length, and returns when it is on
// disk. With nothing new since the last one it does nothing.
func (n *Node) Snapshot() error {
	if err := n.raft.Snapshot().Error(); err != nil && err != raft.ErrNothingNewToSnapshot { //nolint:errorlint // the library's own, unwrapped
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}
