package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// proposeTimeout bounds how long a change waits for its outcome.
const proposeTimeout = 30 * time.Second

// allocationBody is [wire.AllocationRequest] with a recipient that may be absent.
type allocationBody struct {
	wire.AllocationRequest
	Recipient *wire.Recipient `json:"recipient"`
}

func (b allocationBody) pod() *fsmpb.Pod {
	return &fsmpb.Pod{Namespace: b.Namespace, Name: b.Pod, Uid: b.PodUID}
}

// allocate asks the cluster for a pod's keys and answers with them, or with
// what the pod waits for. While a request waits, repeating it costs no log
// entry; once it no longer does, the same command grants, and records that
// secrets are about to be given away.
func (s *Server) allocate(c *call, body allocationBody) (answer, error) {
	wait, err := c.wait()
	if err != nil {
		return answer{}, err
	}
	if err := s.checkRequest(c.caller, body); err != nil {
		return answer{}, err
	}
	if _, isSealed := s.vault.Sealed(); isSealed && body.Recipient != nil {
		return answer{}, node.ErrSealed // before anything is allocated
	}
	deadline, turn := time.Now().Add(wait), s.holds.turn()
	defer turn.leave()
	view, fresh, held, reason := s.node.View(), false, false, ""
	for {
		if !waits(view, body) {
			if err := s.mayAsk(c, view, body, held); err != nil {
				return answer{}, err
			}
			got, err := s.ask(c, body)
			if err != nil {
				return answer{}, err
			}
			if granted(got, body) {
				return s.grant(c.ctx(), body, got.Allocation)
			}
			view, fresh = s.node.View(), true
		}
		left := time.Until(deadline)
		if left <= 0 || newReason(view, body, &reason) {
			break
		}
		changed, err := turn.hold(c.ctx(), s.stopping, view.WatchWaiting(body.Namespace, body.Pod), left)
		if err != nil {
			return answer{}, err
		}
		fresh, held = false, true
		if !changed {
			break
		}
		view = s.node.View()
	}
	return s.stillWaiting(c, body, view, fresh)
}

// mayAsk looks once more before the command that may give keys away.
func (s *Server) mayAsk(c *call, view *fsm.View, body allocationBody, held bool) error {
	if held {
		if err := s.again(c); err != nil {
			return err
		}
	}
	return s.pacedRepeat(c, view, body)
}

// newReason reports whether the request waits for another reason than before
// and remembers it. A block number in the words of the same reason is no news,
// nor is progress: keys that were to be generated and now wait for their deposits.
func newReason(view *fsm.View, body allocationBody, known *string) bool {
	now := reasonCode(view, view.Request(body.Namespace, body.Pod))
	if now == reasonGenerating {
		now = reasonDepositing
	}
	old := *known
	*known = now
	return old != "" && old != now
}

// stillWaiting answers 202. Unless a command was just applied the state may be
// that of a leader who is none any more, so it is read again behind a Barrier.
func (s *Server) stillWaiting(c *call, body allocationBody, view *fsm.View, fresh bool) (answer, error) {
	if !fresh && s.stopping.Err() == nil {
		if err := s.barrier(c.ctx()); err != nil {
			return answer{}, err
		}
		view = s.node.View()
	}
	p := pending(view, body)
	return answer{
		status: http.StatusAccepted,
		header: http.Header{"Retry-After": {seconds(retryAfter(p))}},
		body:   p,
	}, nil
}

// waits reports whether the state already has this request, so that proposing
// it once more would change nothing.
func waits(view *fsm.View, body allocationBody) bool {
	r := view.Request(body.Namespace, body.Pod)
	return r.GetPod().GetUid() == body.PodUID && int64(r.GetKeys()) >= body.Keys &&
		(!r.GetBlocked() || r.GetSlashingProtection() == body.SlashingProtection)
}

// granted reports whether the pod holds all that it asked for, which is also
// when the command recorded the disclosure.
func granted(got fsm.Allocated, body allocationBody) bool {
	a := got.Allocation
	return got.Request == nil && a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_HELD &&
		a.GetPod().GetUid() == body.PodUID
}

func (s *Server) ask(c *call, body allocationBody) (fsm.Allocated, error) {
	cmd := c.command()
	cmd.Body = &fsmpb.Command_Allocate{Allocate: &fsmpb.Allocate{
		Pod:      body.pod(),
		Keys:     uint32(body.Keys), //nolint:gosec // checked against MaxKeysPerPod
		Disclose: body.Recipient != nil,
		PoolOnly: s.cfg.PoolOnly,

		SlashingProtection: body.SlashingProtection,
	}}
	value, err := s.propose(c.ctx(), cmd)
	if err != nil {
		return fsm.Allocated{}, err
	}
	got, ok := value.(fsm.Allocated)
	if !ok {
		return fsm.Allocated{}, errors.New("an Allocate command was answered with another type")
	}
	return got, nil
}

// propose bounds the wait for the outcome of a command. One that is abandoned
// may still be applied.
func (s *Server) propose(ctx context.Context, cmd *fsmpb.Command) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	value, err := s.node.Propose(ctx, cmd)
	return value, abandoned(err)
}

// abandoned tells of a command that nobody waited for any longer that its outcome is
// not known.
func abandoned(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return node.ErrUnknownOutcome
	}
	return err //nolint:wrapcheck // problem.go decides what it is
}

// grant answers 200.
func (s *Server) grant(ctx context.Context, body allocationBody, a *fsmpb.Allocation) (answer, error) {
	view := s.node.View()
	granted := allocationOf(view.Meta(), a)
	if body.SlashingProtection {
		granted.SlashingProtection = s.watermarks(view, a)
	}
	if body.Recipient == nil {
		return ok(granted), nil
	}
	var err error
	if granted.Secrets, err = s.disclose(ctx, view, *body.Recipient, a); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, header: http.Header{"Cache-Control": {"no-store"}}, body: granted}, nil
}
