package faults

import (
	"context"
	"errors"
	"fmt"

	"github.com/keysteward/keysteward/cluster/local"
	"github.com/keysteward/keysteward/node/failpoint"
)

// Fault is something that happens to a node, or to what nodes need.
type Fault interface {
	// Name says what happens to whom, for people: "kill n2".
	Name() string
	// Inject makes it happen, and returns when it has. Heal ends it, and starts the node
	// again where the fault ended its process; it does not wait until the node is ready.
	// Heal must be called once, also when the context of Inject has ended since. With an
	// error there is nothing to heal.
	Inject(ctx context.Context) (heal func(context.Context) error, err error)
}

// Stage is what faults happen to.
type Stage struct {
	Nodes *local.Nodes
	// Points is the folder that the nodes were given as failpoint.Variable; empty for
	// nodes without failpoints.
	Points failpoint.Folder
}

// errNoPoints says that a fault needs nodes with failpoints.
var errNoPoints = errors.New("the nodes have no folder of failpoints")

// fault is a Fault of a name and a function.
type fault struct {
	name   string
	inject func(ctx context.Context) (heal func(context.Context) error, err error)
}

// New makes a fault of its parts.
func New(name string, inject func(ctx context.Context) (heal func(context.Context) error, err error)) Fault {
	return fault{name: name, inject: inject}
}

// Name implements Fault.
func (f fault) Name() string { return f.name }

// Inject implements Fault.
func (f fault) Inject(ctx context.Context) (func(context.Context) error, error) {
	heal, err := f.inject(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	return func(ctx context.Context) error {
		if err := heal(ctx); err != nil {
			return fmt.Errorf("end of %s: %w", f.name, err)
		}
		return nil
	}, nil
}

// NodeName is how the node with this index is called, from 0.
func NodeName(i int) string { return fmt.Sprintf("n%d", i+1) }
