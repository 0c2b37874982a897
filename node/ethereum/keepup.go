package ethereum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/fsm"
)

// progressPause is how often the log says how far reading has come.
const progressPause = 10 * time.Second

// Run keeps the index up on this node until ctx ends, whether it leads or not; it
// then returns nil. view shows the node's applied state: a chain that contradicts
// it is not read. Without an execution client there is nothing to do.
func (x *Indexer) Run(ctx context.Context, view func() *fsm.View) error {
	if !x.cfg.configured() {
		return nil
	}
	k := &keeper{indexer: x, view: view, log: x.log}
	defer k.disconnect()
	for ctx.Err() == nil {
		complete, err := k.readOn(ctx)
		k.tell(ctx, complete, err)
		if err == nil && !complete {
			continue // there is more to read
		}
		pause, stop := context.WithTimeout(ctx, x.cfg.Poll)
		<-pause.Done()
		stop()
	}
	return nil
}

// keeper is the loop of one Run. It has connections of its own: which client the
// duty uses on the leader is none of its business.
type keeper struct {
	indexer   *Indexer
	view      func() *fsm.View
	log       *slog.Logger
	endpoints *endpoints
	historian historian

	said     time.Time
	wasTold  Code
	complete bool
}

// keepRequests is how many requests are made before the chain is looked at again.
const keepRequests = 10

// readOn looks at the chain and reads for a while.
func (k *keeper) readOn(ctx context.Context) (complete bool, err error) {
	x := k.indexer
	var e extent
	defer func() {
		x.noted(e, err)
		if w := (*waiting)(nil); errors.As(err, &w) && k.endpoints != nil && blamed(w) {
			k.endpoints.fault(w) // so that another client has its turn
		}
	}()
	c, err := k.connect(ctx)
	if err != nil {
		return false, err
	}
	if e, err = lookAt(ctx, c, x.cfg); err != nil {
		return false, err
	}
	view := k.view()
	if err := checkGenesis(c.host, x.cfg, view, e.genesis); err != nil {
		return false, err
	}
	h, err := k.historian.check(ctx, c, x.cfg.Network.ChainID, view, e)
	if err != nil {
		return false, err
	}
	return x.readTo(ctx, c, e, h, keepRequests)
}

// connect chooses an execution client, as the duty does, without words: on the
// leader there would be two who tell of it.
func (k *keeper) connect(ctx context.Context) (*client, error) {
	cfg := k.indexer.cfg
	if k.endpoints == nil {
		m, err := newMetrics(prometheus.NewRegistry())
		if err != nil {
			return nil, err
		}
		cfg.Logger = slog.New(slog.DiscardHandler)
		if k.endpoints, err = dialAll(ctx, cfg, m); err != nil {
			return nil, err
		}
	}
	return k.endpoints.pick(ctx, cfg.Network.DepositContract)
}

func (k *keeper) disconnect() {
	if k.endpoints != nil {
		k.endpoints.close()
		k.endpoints = nil
	}
}

// lookAt reads the ends of a chain and makes sure that it has the right ID.
func lookAt(ctx context.Context, c *client, cfg Config) (e extent, err error) {
	var chainID hexutil.Big
	var finalized *block
	calls := []rpc.BatchElem{
		{Method: "eth_chainId", Result: &chainID},
		getBlock(uint64(0), &e.genesis),
		getBlock("latest", &e.head),
		getBlock("finalized", &finalized), // an error or nothing while there is none
	}
	if err := c.batch(ctx, calls); err != nil {
		return e, err
	}
	for _, call := range calls[:len(calls)-1] {
		if call.Error != nil {
			return e, waitFor(ChainUnreachable, "the execution client at %s answers %s with: %v", c.host, call.Method, call.Error)
		}
	}
	if e.genesis == nil || e.head == nil {
		return e, waitFor(ChainUnreachable, "the execution client at %s has no head block", c.host)
	}
	if id := chainID.ToInt(); !id.IsUint64() || id.Uint64() != cfg.Network.ChainID {
		return e, wrongChain(c.host, id, cfg)
	}
	e.final, e.hasFinal = finalBlock(uint64(e.head.Number), finalized, cfg.Confirmations)
	return e, nil
}

// tell logs how far reading has come now and then, and when that changes.
func (k *keeper) tell(ctx context.Context, complete bool, err error) {
	x, now := k.indexer, k.indexer.cfg.Now()
	code := Code("")
	if w := (*waiting)(nil); errors.As(err, &w) {
		code = w.code
	}
	s := x.Status()
	switch paced := now.Sub(k.said) >= progressPause; {
	case ctx.Err() != nil:
		return
	case err != nil && (code != k.wasTold || paced && !complete):
		k.log.Warn("DepositEvents can not be read on", "code", code, "reason", err, "next_block", s.NextBlock, "head", s.Head, "events", s.Events)
	case err == nil && complete && (!k.complete || k.wasTold != ""):
		k.log.Info("DepositEvents are read up to the head", "head", s.Head, "events", s.Events)
	case err == nil && !complete && paced:
		k.log.Info("reading DepositEvents", "next_block", s.NextBlock, "head", s.Head, "events", s.Events, "done", percent(s.NextBlock-x.cfg.StartBlock, s.Head+1-min(x.cfg.StartBlock, s.Head)))
	default:
		k.complete, k.wasTold = k.complete && err == nil, code
		return
	}
	k.said, k.wasTold, k.complete = now, code, complete
}

func percent(part, all uint64) string {
	if all == 0 {
		return "100 %"
	}
	return fmt.Sprintf("%d %%", min(100, 100*part/all))
}
