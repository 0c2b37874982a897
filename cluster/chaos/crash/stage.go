package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/keysteward/keysteward/cluster/chaos/answers"
	"github.com/keysteward/keysteward/cluster/chaos/books"
	"github.com/keysteward/keysteward/cluster/chaos/wires"
	"github.com/keysteward/keysteward/cluster/local"
	"github.com/keysteward/keysteward/node/failpoint"
)

const (
	members = 3
	// confirmations after which a deposit is final: more than one, so that mined and
	// final are different passes.
	confirmations = 2
)

// stage is everything that runs: the nodes, the wires between them, and geth. Close
// it.
type stage struct {
	nodes  *local.Nodes
	asker  answers.Asker
	wires  *wires.Wires
	chain  *ethclient.Client
	points failpoint.Folder
	books  *books.Books
	pods   []*pod // of all trials so far
	kills  int    // nodes that ended because they were killed
}

// raise builds a stage in a folder, of programs that were built for it.
func raise(ctx context.Context, keysteward, geth, dir string) (s *stage, err error) {
	s = &stage{points: failpoint.Folder(filepath.Join(dir, "failpoints"))}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
			s = nil
		}
	}()
	if s.nodes, err = local.OpenNodes(ctx, dir, keysteward, members); err != nil {
		return s, fmt.Errorf("prepare: %w", err)
	}
	s.asker = answers.Asker(s.nodes.AdminToken())
	if err := os.MkdirAll(string(s.points), 0o700); err != nil {
		return s, fmt.Errorf("folder of failpoints: %w", err)
	}
	var addresses []string
	for i := range members {
		addresses = append(addresses, s.nodes.RaftAddress(i))
	}
	if s.wires, err = wires.New(ctx, addresses); err != nil {
		return s, err
	}
	if s.chain, err = books.StartGeth(ctx, geth, dir, s.nodes); err != nil {
		return s, err
	}
	if s.books, err = books.Open(ctx, s.chain, s.nodes.FundedAddress()); err != nil {
		return s, err
	}
	err = s.nodes.Start(ctx, books.ChainOf(s.nodes), s.flags, []string{failpoint.Variable + "=" + string(s.points)})
	if err != nil {
		return s, fmt.Errorf("start the nodes: %w", err)
	}
	return s, nil
}

// flags of a member: it listens on a host of its own, and is advertised where its wire is.
func (s *stage) flags(i int) []string {
	return []string{
		"--raft-addr", net.JoinHostPort(wires.MemberHost(i), strconv.Itoa(s.nodes.RaftPort(i))),
		"--confirmations", strconv.Itoa(confirmations), "--log-level", "debug",
	}
}

func (s *stage) close() error {
	if s.chain != nil {
		s.chain.Close()
	}
	var err error
	if s.nodes != nil {
		err = s.nodes.Close()
	}
	if s.wires != nil {
		s.wires.Close()
	}
	if err != nil {
		return fmt.Errorf("take down: %w", err)
	}
	return nil
}
