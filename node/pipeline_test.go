package node

import (
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// A pipeline of which nobody takes the answers any more is left after a while, or when
// the node stops, and blocks nobody for good.
func TestTrapPipelineThatBlocks(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(from *transport){
		"left after a while": func(from *transport) { from.stuckAfter = 100 * time.Millisecond },
		"the node stops":     func(from *transport) { time.AfterFunc(100*time.Millisecond, from.closePipelines) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to, address := twoTransports(t)
			from.stuckAfter = time.Hour
			stop(from)
			done := make(chan struct{})
			var answering sync.WaitGroup
			defer answering.Wait()
			defer close(done)
			answering.Go(func() {
				for {
					select {
					case rpc := <-to.Consumer():
						rpc.Respond(&raft.AppendEntriesResponse{Success: false}, nil)
					case <-done:
						return
					}
				}
			})
			p, err := from.AppendEntriesPipeline("b-1", address)
			require.NoError(t, err)
			ended := make(chan error, 1)
			go func() { // Raft's, after its reader has ended
				for {
					if _, err := p.AppendEntries(&raft.AppendEntriesRequest{RPCHeader: stranger()}, &raft.AppendEntriesResponse{}); err != nil {
						ended <- err
						return
					}
				}
			}()
			select {
			case err := <-ended:
				require.Error(t, err)
			case <-time.After(patience):
				t.Error("it blocks for good")
			}
			require.NoError(t, p.Close())
			require.Empty(t, from.pipelines)
		})
	}
}
