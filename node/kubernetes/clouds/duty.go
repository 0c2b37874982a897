package clouds

import (
	"context"
	"log/slog"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Session is the leadership in which the duty runs.
type Session interface {
	// View returns the applied state, which includes everything that was logged
	// before the session began.
	View() *fsm.View
	// Propose has the command decided, after filling in version, session and wall
	// clock, and returns its value. The error wraps a *fsm.Refusal where the state
	// machine refused; any other means that the outcome is unknown or that the
	// session is over. When it returns without one, View shows the change.
	Propose(ctx context.Context, cmd *fsmpb.Command) (any, error)
}

// Duty brings logical clouds into their clusters. Between sessions it keeps nothing.
type Duty struct {
	cfg Config
	log *slog.Logger
}

// New returns a duty that has not connected to anything yet. Errors wrap
// [ErrConfig] or are about registering metrics.
func New(cfg Config) (*Duty, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	return &Duty{cfg: cfg, log: cfg.Logger}, nil
}

// Nudge has a Kubernetes cluster looked at now, if this node leads. It does not block.
func (d *Duty) Nudge(provider, cluster string) {}

// Run works until ctx ends, and then returns nil when everything that it began has
// ended: whatever goes wrong meanwhile is told by the state and tried again. A duty
// runs in one session at a time.
func (d *Duty) Run(ctx context.Context, _ Session) error {
	<-ctx.Done()
	return nil
}
