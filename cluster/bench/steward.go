package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// stewardMember is a node without its API, in a process of its own.
type stewardMember struct {
	args []string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// stewardCluster is three of them, which put themselves under load.
type stewardCluster struct {
	members []*stewardMember
	servers []nodeServer
}

var errSteward = errors.New("node")

// startSteward starts three nodes and founds a cluster of them.
func startSteward(ctx context.Context, dir string, heartbeat time.Duration) (*stewardCluster, error) {
	c, err := startStrangers(ctx, dir, heartbeat)
	if err != nil {
		return nil, err
	}
	if _, err := c.members[0].tell(order{Op: "found", Servers: c.servers}); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// startStrangers starts three nodes that are no members of anything.
func startStrangers(ctx context.Context, dir string, heartbeat time.Duration) (*stewardCluster, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	addresses, err := freeAddresses(ctx, raftMembers)
	if err != nil {
		return nil, err
	}
	c := &stewardCluster{}
	for i, address := range addresses {
		m := &stewardMember{args: []string{self, stewardMemberArg, filepath.Join(dir, strconv.Itoa(i)), "n" + strconv.Itoa(i), address, heartbeat.String()}}
		c.members = append(c.members, m)
		if err := m.start(); err != nil {
			c.stop()
			return nil, err
		}
		t, err := m.tell(order{Op: "status"})
		if err != nil {
			c.stop()
			return nil, err
		}
		c.servers = append(c.servers, nodeServer{ID: t.ID, Address: address})
	}
	return c, nil
}

func (m *stewardMember) start() error {
	m.cmd = exec.Command(m.args[0], m.args[1:]...) //nolint:gosec,noctx // this program, ended by its input
	m.cmd.Stderr = os.Stderr
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the parent
	var err error
	if m.in, err = m.cmd.StdinPipe(); err != nil {
		return fmt.Errorf("start a node: %w", err)
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start a node: %w", err)
	}
	m.out = bufio.NewReader(out)
	if err := m.cmd.Start(); err != nil {
		return fmt.Errorf("start a node: %w", err)
	}
	return nil
}

// tell gives an order and waits for the answer.
func (m *stewardMember) tell(o order) (told, error) {
	line, err := json.Marshal(o)
	if err != nil {
		return told{}, fmt.Errorf("order: %w", err)
	}
	if _, err := m.in.Write(append(line, '\n')); err != nil {
		return told{}, fmt.Errorf("%w: %s: %w", errSteward, o.Op, err)
	}
	answer, err := m.out.ReadBytes('\n')
	if err != nil {
		return told{}, fmt.Errorf("%w: %s: %w", errSteward, o.Op, err)
	}
	var t told
	if err := json.Unmarshal(answer, &t); err != nil {
		return told{}, fmt.Errorf("%w: %s: %w", errSteward, o.Op, err)
	}
	if t.Error != "" {
		return t, fmt.Errorf("%w: %s: %s", errSteward, o.Op, t.Error)
	}
	return t, nil
}

// end lets the node close, or kills it.
func (m *stewardMember) end(kill bool) {
	if kill {
		_ = m.cmd.Process.Kill()
	}
	_ = m.in.Close()
	_ = m.cmd.Wait()
}

func (c *stewardCluster) stop() {
	for _, m := range c.members {
		if m.cmd != nil && m.cmd.Process != nil {
			m.end(true)
		}
	}
}

// leader waits for the one that leads.
func (c *stewardCluster) leader(ctx context.Context) (*stewardMember, error) {
	var leader *stewardMember
	err := poll(ctx, startTimeout, func() bool {
		for _, m := range c.members {
			if t, err := m.tell(order{Op: "status"}); err == nil && t.Leads {
				leader = m
				return true
			}
		}
		return false
	})
	if err != nil {
		return nil, fmt.Errorf("%w: no leader: %w", errSteward, err)
	}
	return leader, nil
}

// load puts the leader under load and names the figure.
func (c *stewardCluster) load(ctx context.Context, name, kind string, clients int, duration time.Duration) (figure, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return figure{}, err
	}
	t, err := leader.tell(order{Op: "load", Kind: kind, Clients: clients, Seconds: duration.Seconds()})
	if err != nil {
		return figure{}, err
	}
	t.Figure.Name = name + ", " + plural(clients, "client")
	return t.Figure, nil
}
