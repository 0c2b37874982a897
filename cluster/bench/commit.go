package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const commitBytes = 256

// measureCommits is the yardstick: how long Raft itself takes to commit 256
// bytes among three members with bolt on the same disk, for one client and for 64.
func measureCommits(ctx context.Context, dir string, duration time.Duration) (figures []figure, err error) {
	members, err := raftAlone(dir)
	defer func() {
		for _, m := range members {
			err = errors.Join(err, m.raft.Shutdown().Error(), m.store.Close(), m.trans.Close())
		}
	}()
	if err != nil {
		return nil, err
	}
	leader, err := awaitLeader(ctx, members)
	if err != nil {
		return nil, err
	}
	for _, clients := range []int{1, 64} {
		f, err := commitLoad(ctx, leader, clients, duration)
		if err != nil {
			return nil, err
		}
		figures = append(figures, f)
	}
	return figures, nil
}

func commitLoad(ctx context.Context, leader *raft.Raft, clients int, duration time.Duration) (figure, error) {
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var (
		mu        sync.Mutex
		latencies []time.Duration
		failure   error
		workers   sync.WaitGroup
	)
	begin := time.Now()
	for range clients {
		workers.Go(func() {
			payload := make([]byte, commitBytes)
			for ctx.Err() == nil {
				start := time.Now()
				err := leader.Apply(payload, time.Second).Error()
				mu.Lock()
				latencies = append(latencies, time.Since(start))
				failure = errors.Join(failure, err)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	workers.Wait()
	return rate(fmt.Sprintf("raft alone, %d clients", clients), "commits/s", latencies, time.Since(begin)), failure
}

type member struct {
	raft  *raft.Raft
	store *raftboltdb.BoltStore
	trans *raft.NetworkTransport
}

func raftAlone(dir string) ([]member, error) {
	var (
		members []member
		servers []raft.Server
	)
	for i := range 3 {
		path := filepath.Join(dir, strconv.Itoa(i))
		if err := os.MkdirAll(path, 0o700); err != nil {
			return members, fmt.Errorf("folder: %w", err)
		}
		store, err := raftboltdb.New(raftboltdb.Options{
			Path:        filepath.Join(path, "raft.db"),
			BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
		})
		if err != nil {
			return members, fmt.Errorf("log: %w", err)
		}
		trans, err := raft.NewTCPTransport("127.0.0.1:0", nil, 3, time.Second, io.Discard)
		if err != nil {
			return members, fmt.Errorf("transport: %w", err)
		}
		c := raft.DefaultConfig()
		c.LocalID, c.Logger = raft.ServerID(strconv.Itoa(i)), hclog.NewNullLogger()
		r, err := raft.NewRaft(c, nothing{}, store, store, raft.NewInmemSnapshotStore(), trans)
		if err != nil {
			return members, fmt.Errorf("raft: %w", err)
		}
		members = append(members, member{r, store, trans})
		servers = append(servers, raft.Server{ID: c.LocalID, Address: trans.LocalAddr()})
	}
	if err := members[0].raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
		return members, fmt.Errorf("bootstrap: %w", err)
	}
	return members, nil
}

func awaitLeader(ctx context.Context, members []member) (*raft.Raft, error) {
	for {
		for _, m := range members {
			if m.raft.State() == raft.Leader && m.raft.Barrier(time.Second).Error() == nil {
				return m.raft, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err() //nolint:wrapcheck // interrupted
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// nothing is a state machine without state.
type nothing struct{}

// Apply implements raft.FSM.
func (nothing) Apply(*raft.Log) any { return nil }

// Snapshot implements raft.FSM.
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }

// Restore implements raft.FSM.
func (nothing) Restore(io.ReadCloser) error { return nil }
