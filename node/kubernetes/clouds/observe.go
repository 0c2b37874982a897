package clouds

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const (
	maxObservations     = 1024      // in one command
	maxObservationBytes = 512 << 10 // in one command
	proposers           = 2         // commands on their way
)

// dutyCaller stands for the leader itself in the audit records.
func dutyCaller() *fsmpb.Caller { return &fsmpb.Caller{Name: "clouds", Role: "duty"} }

// observer proposes what was seen, many observations in one command.
type observer struct {
	session Session
	mu      sync.Mutex
	pending []*observation
	wake    chan struct{}
}

type observation struct {
	*fsmpb.CertificateObservation
	done chan error // buffered
}

func newObserver(s Session) *observer {
	return &observer{session: s, wake: make(chan struct{}, proposers)}
}

// observe has observations proposed and waits until they are decided. Those that came
// too late for their certificate count as decided. All of them or none get an error.
func (o *observer) observe(ctx context.Context, seen ...*fsmpb.CertificateObservation) error {
	list := make([]*observation, len(seen))
	o.mu.Lock()
	for i, s := range seen {
		list[i] = &observation{CertificateObservation: s, done: make(chan error, 1)}
	}
	o.pending = append(o.pending, list...)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
	for _, s := range list {
		select {
		case err := <-s.done:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // the caller knows
		}
	}
	return nil
}

// run proposes until ctx ends.
func (o *observer) run(ctx context.Context) {
	for {
		batch := o.take()
		if len(batch) == 0 {
			select {
			case <-o.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := o.propose(ctx, batch)
		for _, s := range batch {
			s.done <- err
		}
	}
}

// take takes what fits one command.
func (o *observer) take() []*observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, size := 0, 0
	for n < len(o.pending) && n < maxObservations {
		size += proto.Size(o.pending[n].CertificateObservation)
		if n > 0 && size > maxObservationBytes {
			break
		}
		n++
	}
	batch := o.pending[:n:n]
	o.pending = o.pending[n:]
	if len(o.pending) > 0 {
		select {
		case o.wake <- struct{}{}:
		default:
		}
	}
	return batch
}

func (o *observer) propose(ctx context.Context, batch []*observation) error {
	c := &fsmpb.ObserveCertificates{}
	for _, s := range batch {
		c.Observations = append(c.Observations, s.CertificateObservation)
	}
	_, err := o.session.Propose(ctx, &fsmpb.Command{
		Caller: dutyCaller(), Body: &fsmpb.Command_ObserveCertificates{ObserveCertificates: c},
	})
	if err != nil && !errors.Is(err, fsm.Refused(fsm.StaleGeneration)) {
		return fmt.Errorf("propose what was seen of certificates: %w", err)
	}
	return nil
}
