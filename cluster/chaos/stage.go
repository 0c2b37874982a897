package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/keysteward/keysteward/cluster/chaos/answers"
	"github.com/keysteward/keysteward/cluster/chaos/books"
	"github.com/keysteward/keysteward/cluster/chaos/faults"
	"github.com/keysteward/keysteward/node/failpoint"
)

const (
	// confirmations after which a deposit is final.
	confirmations = 2
	// restTime is how long keys rest after proof, in cluster time.
	restTime = 500 * time.Millisecond
	pollTime = 50 * time.Millisecond
)

// stage is everything that runs: the nodes, the wires between them, and geth. Close it.
type stage struct {
	faults.Stage
	count int
	down  bool // the nodes were stopped
	dir   string
	asker answers.Asker
	links faults.Links
	// unlink ends the links; listens are flags of a member that they need, may be nil.
	unlink  func()
	listens func(member int) []string
	// disks end those that were mounted.
	disks []func() error
	chain *ethclient.Client
	books *books.Books
	// kubernetes is nil where no clouds are made.
	kubernetes *controlPlane
	slow       int // the member whose clock is slow
	// snapshots says that nodes make snapshots all the time.
	snapshots bool
	// seize and leave claim a member's process for a fault, and give it back.
	seize func(member int) bool
	leave func(member int)
}

// raise builds a stage in a folder.
func raise(ctx context.Context, p program, dir string) (s *stage, err error) {
	s = &stage{count: p.nodes, dir: dir, slow: p.slowMember()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(ctx))
		}
	}()
	if err := s.open(ctx, p, dir); err != nil {
		return s, err
	}
	s.asker = answers.Asker(s.Nodes.AdminToken())
	var env []string
	if p.failpoints {
		s.Points = failpoint.Folder(filepath.Join(dir, "failpoints"))
		if err := os.MkdirAll(string(s.Points), 0o700); err != nil {
			return s, fmt.Errorf("folder of failpoints: %w", err)
		}
		if err := s.setUp(p); err != nil {
			return s, err
		}
		env = append(env, failpoint.Variable+"="+string(s.Points))
	}
	if p.disks {
		if err := s.mountDisks(); err != nil {
			return s, err
		}
	}
	if p.kubernetes != "" {
		if s.kubernetes, err = startKubernetes(ctx, p.kubernetes, filepath.Join(dir, "kubernetes")); err != nil {
			return s, err
		}
	}
	if s.chain, err = books.StartGeth(ctx, p.geth, dir, s.Nodes); err != nil {
		return s, err //nolint:wrapcheck // says what it is
	}
	if s.books, err = books.Open(ctx, s.chain, s.Nodes.FundedAddress()); err != nil {
		return s, err //nolint:wrapcheck // says what it is
	}
	if err := s.Nodes.Start(ctx, books.ChainOf(s.Nodes), s.flags, env); err != nil {
		return s, fmt.Errorf("start the nodes: %w", err)
	}
	return s, nil
}

// setUp has one member run with a slow clock, and in every other pair of runs all make
// snapshots every few seconds, beside a log that is kept whole for the audit.
func (s *stage) setUp(p program) error {
	err := s.Points.SlowClock(faults.NodeName(s.slow), slowTimes)
	if s.snapshots = p.seed/2%2 == 0; s.snapshots {
		err = errors.Join(err, s.Points.SnapshotOften(), s.Points.KeepLog())
	}
	return err
}

// flags of a member. Nobody but operators testifies that a pod has stopped.
func (s *stage) flags(i int) []string {
	var list []string
	if s.listens != nil {
		list = s.listens(i)
	}
	return append(list,
		"--confirmations", strconv.Itoa(confirmations),
		"--witness", "operator", "--rest-after-proof", restTime.String(), "--spare-keys", strconv.Itoa(pods))
}

func (s *stage) close(ctx context.Context) error {
	if s.chain != nil {
		s.chain.Close()
	}
	var err error
	if s.Nodes != nil && !s.down {
		err = s.Nodes.Close()
	}
	err = errors.Join(err, s.unmountDisks())
	if s.unlink != nil {
		s.unlink()
	}
	if s.kubernetes != nil {
		err = errors.Join(err, s.kubernetes.close(ctx))
	}
	if err != nil {
		return fmt.Errorf("take down: %w", err)
	}
	return nil
}

// pause returns an error if the context ends before so much time has passed.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller asks the context
	}
}
