package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/keysteward/keysteward/node/raftlog"
)

// runMember is one member of a cluster that is nothing but Raft, until the
// context ends. The one that leads puts itself under load and prints the figures.
func runMember(ctx context.Context, args []string) (err error) {
	if len(args) != 4 { //nolint:mnd // dir, number, addresses, duration
		return errors.New("a member needs its folder, its number, all addresses and a duration")
	}
	number, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("number: %w", err)
	}
	duration, err := time.ParseDuration(args[3])
	if err != nil {
		return fmt.Errorf("duration: %w", err)
	}
	r, err := openMember(args[0], number, strings.Split(args[2], ","))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Shutdown().Error()) }()
	for {
		if r.State() == raft.Leader && r.Barrier(time.Second).Error() == nil {
			return leadLoad(ctx, r, duration)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func leadLoad(ctx context.Context, r *raft.Raft, duration time.Duration) error {
	var figures []figure
	for _, clients := range []int{1, 64} {
		f, err := commitLoad(ctx, r, clients, duration)
		if err != nil {
			return err
		}
		figures = append(figures, f)
	}
	if err := json.NewEncoder(os.Stdout).Encode(figures); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	<-ctx.Done()
	return nil
}

func openMember(dir string, number int, addresses []string) (*raft.Raft, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder: %w", err)
	}
	store, err := raftlog.Open(dir, slog.New(slog.DiscardHandler), func(error) {})
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	trans, err := raft.NewTCPTransport(addresses[number], nil, 3, time.Second, io.Discard)
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	c := raft.DefaultConfig()
	c.LocalID, c.Logger = raft.ServerID(strconv.Itoa(number)), hclog.NewNullLogger()
	r, err := raft.NewRaft(c, nothing{}, store, store, raft.NewInmemSnapshotStore(), trans)
	if err != nil {
		return nil, fmt.Errorf("raft: %w", err)
	}
	if number > 0 {
		return r, nil
	}
	var servers []raft.Server
	for i, address := range addresses {
		servers = append(servers, raft.Server{ID: raft.ServerID(strconv.Itoa(i)), Address: raft.ServerAddress(address)})
	}
	if err := r.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return r, nil
}

// nothing is a state machine without state.
type nothing struct{}

// Apply implements raft.FSM.
func (nothing) Apply(*raft.Log) any { return nil }

// Snapshot implements raft.FSM.
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }

// Restore implements raft.FSM.
func (nothing) Restore(io.ReadCloser) error { return nil }
