package devchain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/eth"
	"github.com/ethereum/go-ethereum/eth/catalyst"
	"github.com/ethereum/go-ethereum/node"
)

// Chain is a development chain that runs in this process until Close.
type Chain struct {
	config  Config
	url     string
	stack   *node.Node
	backend *eth.Ethereum
	beacon  *catalyst.SimulatedBeacon
	server  *rpcServer
	durable gate
	log     *slog.Logger

	stop      chan struct{} // closed by Close
	done      chan struct{} // closed when sealing has ended
	failure   error         // why sealing ended by itself; read after done
	closeOnce sync.Once
	closeErr  error
}

// Start runs the chain of config, new or where it was, and serves it. ctx bounds the start,
// not the life of the chain. Besides errors of the disk it answers ErrForeignDir, ErrDirInUse
// or ErrListen.
func Start(ctx context.Context, config Config) (*Chain, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	first := genesis(config)
	// The port comes first: whoever is told that it is taken finds the folder as it was.
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", config.RPCAddr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrListen, err)
	}
	chain, err := open(ctx, config, first, listener)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return chain, nil
}

// open puts the parts together. It takes over listener only if it succeeds.
func open(ctx context.Context, config Config, first *core.Genesis, listener net.Listener) (*Chain, error) {
	ours := marker{ChainID: config.ChainID, Funded: config.Funded, Genesis: first.ToBlock().Hash()}
	if err := claimFolder(config.Dir, ours); err != nil {
		return nil, err
	}
	c := &Chain{
		config: config,
		url:    "http://" + listener.Addr().String(),
		log:    config.Logger,
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	apis, err := c.openEthereum(first)
	if err != nil {
		return nil, err
	}
	if err := c.awaitIndex(ctx); err != nil {
		return nil, errors.Join(err, c.stack.Close())
	}
	if c.server, err = serveRPC(listener, apis, &c.durable); err != nil {
		return nil, errors.Join(err, c.stack.Close())
	}
	go c.sealBlocks(c.seal)
	c.log.Info("development chain runs", "rpc", c.url, "chainId", config.ChainID,
		"block", c.backend.BlockChain().CurrentBlock().Number, "period", config.Period)
	return c, nil
}

// RPC returns the URL that serves JSON-RPC: http://host:port.
func (c *Chain) RPC() string { return c.url }

// ChainID returns the EIP-155 chain ID.
func (c *Chain) ChainID() uint64 { return c.config.ChainID }

// DepositContract returns the address of the deposit contract.
func (c *Chain) DepositContract() common.Address { return depositContract() }

// Done is closed when no more blocks are sealed: by Close, or because the disk failed,
// which Close then reports.
func (c *Chain) Done() <-chan struct{} { return c.done }

// Close stops sealing and listening and closes the database; every block is on disk then,
// and nothing of the chain runs any more. It may be called more than once.
func (c *Chain) Close() error {
	c.closeOnce.Do(func() {
		close(c.stop)
		<-c.done
		c.closeErr = errors.Join(c.failure, c.server.close(context.Background()), c.beacon.Stop(), c.stack.Close())
	})
	return c.closeErr
}

// awaitIndex returns when transactions can be looked up by hash. Before that go-ethereum answers
// with an error instead of "not found", and on a new chain it waits for the first block.
func (c *Chain) awaitIndex(ctx context.Context) error {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	if c.backend.BlockChain().CurrentBlock().Number.Sign() == 0 {
		if err := c.seal(); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		if c.backend.BlockChain().TxIndexDone() {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	return fmt.Errorf("start the development chain: %w", ctx.Err())
}

// sealBlocks calls seal each Period until Close, or until it fails.
func (c *Chain) sealBlocks(seal func() error) {
	defer close(c.done)
	ticker := time.NewTicker(c.config.Period)
	defer ticker.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-ticker.C:
			if err := c.durable.seal(seal); err != nil {
				c.failure = fmt.Errorf("development chain stopped: %w", err)
				c.log.Error("development chain stopped", "error", err)
				return
			}
		}
	}
}

// seal adds one block and forces it to disk. A block that cannot be built is tried again
// next time: go-ethereum has logged why, and nothing was shown to anybody.
func (c *Chain) seal() error {
	before := c.backend.BlockChain().CurrentBlock().Number.Uint64()
	c.beacon.Commit()
	if after := c.backend.BlockChain().CurrentBlock().Number.Uint64(); after != before+1 {
		c.log.Warn("development chain sealed no block", "head", after)
	}
	if err := c.backend.ChainDb().SyncKeyValue(); err != nil {
		return fmt.Errorf("force the block after %d to disk: %w", before, err)
	}
	return nil
}
