package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"syscall"
)

// ErrPort says that a port can not be used. Nothing was started.
var ErrPort = errors.New("port is taken")

const loopback = "127.0.0.1"

// Free ports are picked here: below the range from which systems take the ports
// of outgoing connections, so that they are still free at the next start.
const (
	pickFrom = 20000
	pickTo   = 32000
)

// ports are those of a whole cluster.
type ports struct {
	API   []int `json:"api"`
	Raft  []int `json:"raft"`
	Chain int   `json:"chain"`
}

func (p ports) fit(nodes int) bool { return len(p.API) == nodes && len(p.Raft) == nodes }

// choosePorts decides on ports: those that were asked for, else those of an
// earlier start, else the default; 0 gives up those of an earlier start if they are
// taken. All are free, and no other launcher of this machine chooses them until the
// folder is closed. The members' addresses are a part of what the cluster agreed on, so
// its Raft ports stay.
func choosePorts(ctx context.Context, o Options, f *folder, nodes int) (ports, error) {
	var before ports
	if !f.fresh {
		before = f.memory.Ports
	}
	c := chooser{claims: &f.claims}
	var p ports
	var err error
	if p.Raft, err = c.choose(ctx, flagRaftPort, o.RaftPort, before.Raft, nodes); err != nil {
		return p, err
	}
	if !f.fresh && !slices.Equal(p.Raft, before.Raft) {
		return p, fmt.Errorf("%w: --%s %d: the nodes in %s know each other at the ports %d to %d; leave the flag out, or use another --dir",
			ErrUsage, flagRaftPort, o.RaftPort.Number, f.path, before.Raft[0], before.Raft[nodes-1])
	}
	if p.API, err = c.choose(ctx, flagAPIPort, o.APIPort, before.API, nodes); err != nil {
		return p, err
	}
	var chainBefore []int
	if before.Chain != 0 {
		chainBefore = []int{before.Chain}
	}
	chain, err := c.choose(ctx, flagChainPort, o.ChainPort, chainBefore, 1)
	if err != nil {
		return p, err
	}
	p.Chain = chain[0]
	return p, nil
}

// chooser never gives a port twice.
type chooser struct {
	chosen []int
	claims *claims
}

func (c *chooser) choose(ctx context.Context, flag string, wanted Port, before []int, count int) ([]int, error) {
	list := before
	remembered := len(before) > 0 && (!wanted.Given || wanted.Number == 0)
	switch {
	case remembered:
	case wanted.Number == 0:
		return c.pick(ctx, flag, count)
	default:
		list = make([]int, count)
		for i := range list {
			list[i] = wanted.Number + i
		}
	}
	for _, port := range list {
		err := c.take(ctx, port)
		switch {
		case err == nil:
		case remembered && flag == flagRaftPort:
			return nil, fmt.Errorf("--%s: %w; the nodes know each other by it: end what uses it, or use another --dir", flag, err)
		case remembered && wanted.Given:
			return c.pick(ctx, flag, count)
		default:
			return nil, fmt.Errorf("--%s: %w; %s", flag, err, otherPort(flag))
		}
	}
	return list, nil
}

// otherPort says how to go around a port that is taken.
func otherPort(flag string) string {
	return fmt.Sprintf("choose another one (0 picks what is free), or with make: make run ARGS=\"--%s 0\"", flag)
}

func (c *chooser) pick(ctx context.Context, flag string, count int) ([]int, error) {
	var list []int
	for range 1000 {
		port := pickFrom + rand.IntN(pickTo-pickFrom) //nolint:gosec // nobody must not guess it
		if c.take(ctx, port) == nil {
			list = append(list, port)
		}
		if len(list) == count {
			return list, nil
		}
	}
	return nil, fmt.Errorf("--%s: found no free ports from %d to %d: %w", flag, pickFrom, pickTo, ErrPort)
}

func (c *chooser) take(ctx context.Context, port int) error {
	if slices.Contains(c.chosen, port) {
		return fmt.Errorf("%w: %d is asked for twice", ErrPort, port)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address(port))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPort, err)
	}
	defer func() { _ = l.Close() }()
	if err := c.claims.claim(ctx, port); err != nil {
		return err
	}
	c.chosen = append(c.chosen, port)
	return nil
}

// claims tell other launchers, which look for them, of ports that nobody listens on yet,
// or again: those of nodes that start, or were killed.
type claims []net.Listener

// claimHost is another address of the loopback interface, where nothing listens but claims.
const claimHost = "127.75.83.1"

// claim fails if another launcher has claimed the port.
func (c *claims) claim(ctx context.Context, port int) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(claimHost, strconv.Itoa(port)))
	switch {
	case err == nil:
		*c = append(*c, l)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another keysteward-local is about to use it: %w", ErrPort, err)
	}
	return nil // a system without such addresses has no claims
}

// release ends them; whoever closes the folder calls it.
func (c *claims) release() {
	for _, l := range *c {
		_ = l.Close()
	}
	*c = nil
}

func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }
