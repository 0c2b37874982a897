package cluster

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/failpoint"
)

const (
	agreeInterval = time.Second
	// heardAfter is at how many looks in a row it is waited for what members have at the
	// last mark, before another one is made: they tell once a second.
	heardAfter = 5
)

// checkpointInterval is how often replicas are compared, while anything is logged. Fault
// tests are not patient.
func checkpointInterval() time.Duration {
	if failpoint.Enabled {
		return time.Second
	}
	return 10 * time.Second
}

// errUndecided says that nobody can tell which of the members is right.
var errUndecided = errors.New("members differ, and no majority of the voters agrees")

// agree raises the cluster's feature level once the programs of all members know a
// higher one, and has the replicas compared by checkpoints, while this node leads.
func agree(ctx context.Context, p *peers) error {
	c := &comparison{}
	said := ""
	for {
		status := p.node.Status()
		if !status.IsLeader {
			p.report.differ("")
		} else {
			err := p.raise(ctx, status)
			if err == nil && time.Since(c.last) >= checkpointInterval() {
				err = p.compare(ctx, status, c)
			}
			reason := ""
			if err != nil && ctx.Err() == nil && !errors.Is(err, node.ErrNotLeader) { // the next leader goes on
				reason = err.Error()
			}
			if reason != "" && reason != said {
				p.log.Error("members can not be compared, or brought to a higher feature level", "reason", reason)
			}
			said = reason
		}
		if err := pause(ctx, agreeInterval); err != nil {
			return err
		}
	}
}

// levelOfAll is the highest feature level that the programs of all members know, 0
// while one of them was not heard.
func levelOfAll(members []node.Peer) uint32 {
	if len(members) == 0 {
		return 0
	}
	return slices.MinFunc(members, func(a, b node.Peer) int { return int(a.FeatureLevel) - int(b.FeatureLevel) }).FeatureLevel
}

// raise raises the feature level, if that is due.
func (p *peers) raise(ctx context.Context, status node.Status) error {
	level, now := levelOfAll(status.Peers), p.node.View().Meta().GetFeatureLevel()
	if level <= now {
		return nil
	}
	_, err := p.node.Propose(ctx, &fsmpb.Command{
		Caller: &fsmpb.Caller{Name: "members", Role: "duty"},
		Body:   &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: level}},
	})
	if err != nil {
		return fmt.Errorf("raise the feature level to %d: %w", level, err)
	}
	p.log.Info("the programs of all members know a higher feature level, which is in force from now on", "level", level, "before", now)
	return nil
}

// comparison is what a leader remembers of how members were compared.
type comparison struct {
	last  time.Time // when a checkpoint was logged
	waits int       // looks at which too few members had told of the mark
}

// compare has most voters' hash at the last mark logged, and a new mark made. A member
// that had another hash stops when it comes to that entry, also if it is this leader.
func (p *peers) compare(ctx context.Context, status node.Status, c *comparison) error {
	meta := p.node.View().Meta()
	if meta.GetFeatureLevel() < 1 || meta.GetMark() != nil && meta.GetAppliedIndex() <= meta.GetMark().GetIndex() {
		return nil
	}
	confirmed, undecided := mostHave(meta.GetMark(), status.Peers)
	if undecided != "" {
		p.report.differ("members differ, and nobody can tell which of them is right: " + undecided)
		return fmt.Errorf("%w: %s", errUndecided, undecided)
	}
	p.report.differ("")
	if confirmed == nil && meta.GetMark() != nil && c.waits < heardAfter {
		c.waits++
		return nil
	}
	c.last, c.waits = time.Now(), 0
	_, err := p.node.Propose(ctx, &fsmpb.Command{
		Caller: &fsmpb.Caller{Name: "members", Role: "duty"},
		Body:   &fsmpb.Command_Checkpoint{Checkpoint: &fsmpb.Checkpoint{Confirmed: confirmed}},
	})
	if err != nil {
		return fmt.Errorf("log a checkpoint: %w", err)
	}
	if confirmed != nil {
		p.log.Debug("members were compared", "index", confirmed.GetIndex(), "hash", hex.EncodeToString(confirmed.GetHash()))
	}
	return nil
}

// mostHave returns what most voters had at the mark of this leader; nil if too few were
// heard of it to tell. undecided names who had what, if they differ and none of it is
// the majority's.
func mostHave(mark *fsmpb.Mark, members []node.Peer) (confirmed *fsmpb.Mark, undecided string) {
	if mark == nil {
		return nil, ""
	}
	votes, voters := map[string]int{}, 0
	var list strings.Builder
	for _, m := range members {
		if !m.Voter {
			continue
		}
		voters++
		if m.Mark.GetIndex() == mark.GetIndex() {
			votes[string(m.Mark.GetHash())]++
			fmt.Fprintf(&list, " %s has %s", m.ID, hex.EncodeToString(m.Mark.GetHash()[:min(4, len(m.Mark.GetHash()))]))
		}
	}
	for hash, n := range votes {
		if n > voters/2 {
			return &fsmpb.Mark{Index: mark.GetIndex(), Hash: []byte(hash)}, ""
		}
	}
	if len(votes) > 1 {
		return nil, fmt.Sprintf("before entry %d%s", mark.GetIndex(), list.String())
	}
	return nil, ""
}

// markOf is the last mark of this node, as others may know it.
func markOf(n *node.Node) *fsmpb.Mark { return proto.CloneOf(n.View().Meta().GetMark()) }
