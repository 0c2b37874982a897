package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// failedTimeout is for telling the audit that an act came to nothing.
const failedTimeout = 5 * time.Second

// act is what an operator has this leader do, as the audit names it.
type act struct{ action, object, detail string }

// record puts an act in the audit, in the operator's name, before it is done. Below the
// feature level that knows of it there is only the log.
func (c *Cluster) record(ctx context.Context, by node.Asker, a act) error {
	err := c.propose(ctx, by, a.command(""))
	if err != nil && !errors.Is(err, fsm.Refused(fsm.FeatureRefused)) {
		return fmt.Errorf("put %s on record: %w", a.action, err)
	}
	return nil
}

// failed records that the act came to nothing, as far as is known. Who is no longer the
// leader can not; then it is in the log alone.
func (c *Cluster) failed(ctx context.Context, by node.Asker, a act, why error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failedTimeout)
	defer cancel()
	code := "failed"
	if errors.Is(why, node.ErrUnknownOutcome) {
		code = "outcome-unknown"
	}
	a.detail += ": " + why.Error()
	if err := c.propose(ctx, by, a.command(code)); err != nil {
		c.peers.log.Warn("what came of it could not be put on record", "action", a.action, "object", a.object, "reason", why, "error", err)
	}
}

func (a act) command(failed string) *fsmpb.Command {
	return &fsmpb.Command{Body: &fsmpb.Command_RecordAct{RecordAct: &fsmpb.RecordAct{
		Action: a.action, Object: a.object, Detail: a.detail, Failed: failed,
	}}}
}
