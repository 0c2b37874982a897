package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/keysteward/keysteward/client/pki"
)

// Nodes are the processes of a cluster for whoever torments them one by one, on a
// chain that he brings. Close them. None of it is safe for concurrent use, but
// Signal, PID and what tells addresses.
type Nodes struct {
	launcher *launcher
	others   []*process
}

// NodesOptions say what kind of cluster Nodes are.
type NodesOptions struct {
	// Dir is the folder of all data, which is made.
	Dir string
	// Keysteward is the node's binary.
	Keysteward string
	// Count is how many nodes there are.
	Count int
	// TLS has the nodes speak TLS on both ports.
	TLS bool
	// Place is where nodes and the chain run, if that is not this machine's loopback.
	Place Place
}

// Place is where processes run.
type Place interface {
	// Host is the address of a node, from 0.
	Host(i int) string
	// ChainHost is the address at which this process serves a chain to the nodes.
	ChainHost() string
	// Start starts the process of a node, from 0.
	Start(i int, cmd *exec.Cmd) error
}

// OpenNodes prepares a cluster of count nodes in a folder, which is made: ports,
// tokens, the account that pays. Nothing runs yet.
func OpenNodes(ctx context.Context, dir, keysteward string, count int) (*Nodes, error) {
	return OpenNodesWith(ctx, NodesOptions{Dir: dir, Keysteward: keysteward, Count: count})
}

// OpenNodesWith is OpenNodes for clusters of other kinds.
func OpenNodesWith(ctx context.Context, n NodesOptions) (*Nodes, error) {
	o := Options{Dir: n.Dir, Nodes: n.Count, Keysteward: n.Keysteward, TLS: n.TLS}
	if err := o.check(); err != nil {
		return nil, err
	}
	l := &launcher{options: o, console: &console{out: io.Discard}}
	var err error
	if l.binary, err = findKeysteward(n.Keysteward); err != nil {
		return nil, err
	}
	if l.folder, err = openFolder(n.Dir); err != nil {
		return nil, err
	}
	l.site = &site{folder: l.folder, place: n.Place}
	if l.site.ports, err = choosePorts(ctx, o, l.folder, n.Count); err == nil {
		err = errors.Join(l.remember(n.Count), l.openSecrets(ctx))
	}
	if err != nil {
		return nil, errors.Join(err, l.folder.close())
	}
	l.spawner = newSpawner()
	l.nodes = newSupervisor(l.spawner, l.binary, l.site, func(*process) {})
	return &Nodes{launcher: l}, nil
}

// FundedAddress is the account that pays for deposits.
func (n *Nodes) FundedAddress() common.Address { return n.launcher.site.funding.Address }

// ChainAddress is the host:port that is kept free for the chain's JSON-RPC.
func (n *Nodes) ChainAddress() string { return n.launcher.site.chainAddress() }

// RaftPort is the port of a node, from 0, on the host where it is advertised.
func (n *Nodes) RaftPort(i int) int { return n.launcher.site.ports.Raft[i] }

// RaftAddress is the host:port under which the others reach a node, from 0.
func (n *Nodes) RaftAddress(i int) string { return n.launcher.site.address(i, n.RaftPort(i)) }

// APIs are the URLs of all nodes.
func (n *Nodes) APIs() []string { return n.launcher.site.apiURLs() }

// AdminToken names the file with a bearer token of the role admin.
func (n *Nodes) AdminToken() string { return n.launcher.site.tokens.Admin }

// Start starts all nodes, and returns when they are ready and have a seed. Flags
// are those of a node, from 0, that overrule the launcher's; env is the nodes'
// environment besides.
func (n *Nodes) Start(ctx context.Context, chain ClusterChain, flags func(i int) []string, env []string) error {
	s := n.launcher.site
	s.chain, s.more, s.env = chain, flags, env
	if err := n.launcher.startNodes(ctx); err != nil {
		return err
	}
	return n.launcher.initSeed(ctx)
}

// Use has nodes that are started from now on run another program, as an upgrade does,
// and commands too.
func (n *Nodes) Use(keysteward string) {
	n.launcher.binary = keysteward
	n.launcher.nodes.use(keysteward)
}

// Restart starts the nodes again that have ended, and does not wait for them.
func (n *Nodes) Restart(ctx context.Context) error {
	_, err := n.launcher.nodes.restart(ctx)
	return err
}

// StartNode starts one node, from 0, if it does not run, and does not wait for it.
func (n *Nodes) StartNode(ctx context.Context, i int) error {
	return n.launcher.nodes.startOne(ctx, i)
}

// DataDir is the data folder of a node, from 0.
func (n *Nodes) DataDir(i int) string { return n.launcher.site.dataDir(i) }

// AwaitReady returns when all nodes are ready, and with an error that wraps ErrNode
// if one has ended or is not ready in time.
func (n *Nodes) AwaitReady(ctx context.Context) error { return awaitReady(ctx, n.launcher.nodes) }

// Losses is how many processes of nodes ended without being closed.
func (n *Nodes) Losses() int { return n.launcher.nodes.losses() }

// PID is the ID of the process of a node, from 0, that was started last.
func (n *Nodes) PID(i int) int { return n.launcher.nodes.process(i).pid() }

// Signal sends a signal to a node, from 0; one that has ended is no error.
func (n *Nodes) Signal(i int, sig os.Signal) error { return n.launcher.nodes.process(i).signal(sig) }

// AwaitEnd returns when the process of a node, from 0, has ended.
func (n *Nodes) AwaitEnd(ctx context.Context, i int) error {
	p := n.launcher.nodes.process(i)
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s does not end: %w", p.name, context.Cause(ctx))
	}
}

// Program starts another program beside the nodes, which ends with them. Its output
// goes to the file log in a folder of its name. The channel closes when it ends.
func (n *Nodes) Program(ctx context.Context, name, binary string, args ...string) (ended <-chan struct{}, err error) {
	l := n.launcher
	if err := os.MkdirAll(l.folder.in(name), folderMode); err != nil {
		return nil, fmt.Errorf("folder of %s: %w", name, err)
	}
	log, err := openLog(l.folder.in(name, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	p, err := startProcess(ctx, l.spawner, name, binary, args, nil, log)
	if err != nil {
		return nil, err
	}
	n.others = append(n.others, p)
	return p.done, nil
}

// Keysteward runs one of our own client commands under the token of an admin and
// returns what it printed.
func (n *Nodes) Keysteward(ctx context.Context, name string, args ...string) (string, error) {
	l := n.launcher
	var out bytes.Buffer
	err := runCommand(ctx, l.spawner, l.binary, l.site.clientArgs(n.AdminToken(), name, args...), &out, &out)
	return out.String(), err
}

// LogTail is the end of the log of a node (n1, n2 and so on) or a program, for people.
func (n *Nodes) LogTail(name string) string { return logTail(n.launcher.folder.in(name, "log")) }

// CA is the file with the authority of the nodes' API; empty without TLS.
func (n *Nodes) CA() string { return n.launcher.site.tls.ca() }

// Certify makes new certificates for a node, from 0, of a cluster with TLS. It finds them
// by itself.
func (n *Nodes) Certify(i int, lifetime time.Duration) error {
	s := n.launcher.site
	authorities, err := pki.InitFolder(s.tls.folder, nil, pki.AuthorityLifetime, time.Now())
	if err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	return s.tls.issue(authorities, i, s.host(i), lifetime)
}

// Close kills everything that runs, paused or not, and waits for its end. What is
// in the folder stays.
func (n *Nodes) Close() error {
	l := n.launcher
	l.nodes.kill()
	err := l.nodes.close()
	for _, p := range n.others {
		err = errors.Join(err, p.signal(syscall.SIGKILL))
		<-p.done
	}
	l.spawner.close()
	return errors.Join(err, l.folder.close())
}
