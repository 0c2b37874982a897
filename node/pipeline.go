package node

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// pipeline is the library's, which can block for good: its reader ends at the first
// answer that is no success, and when two requests are on their way then, the next one
// waits for an answer that nobody takes any more. Nothing would be replicated to that
// member until another one leads, and Raft could not be shut down. Closing it frees who
// waits, and the library goes on with single requests.
type pipeline struct {
	raft.AppendPipeline

	trans *transport
}

func (t *transport) watched(p raft.AppendPipeline) *pipeline {
	w := &pipeline{AppendPipeline: p, trans: t}
	t.mu.Lock()
	t.pipelines[w] = true
	t.mu.Unlock()
	return w
}

// AppendEntries implements raft.AppendPipeline.
func (p *pipeline) AppendEntries(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	stuck := time.AfterFunc(p.trans.stuckAfter, func() { _ = p.AppendPipeline.Close() })
	defer stuck.Stop()
	return p.AppendPipeline.AppendEntries(q, a) //nolint:wrapcheck // goes to the library
}

// Close implements raft.AppendPipeline.
func (p *pipeline) Close() error {
	p.trans.mu.Lock()
	delete(p.trans.pipelines, p)
	p.trans.mu.Unlock()
	if err := p.AppendPipeline.Close(); err != nil {
		return fmt.Errorf("close pipeline: %w", err)
	}
	return nil
}

// closePipelines frees whoever waits in one, when the node stops.
func (t *transport) closePipelines() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.pipelines {
		_ = p.AppendPipeline.Close()
	}
}
