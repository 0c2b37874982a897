package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/ethereum/beacon"
)

// customEpoch is the time between two looks at the validators of a custom
// network, whose epochs may be short.
const customEpoch = 12 * time.Second

// beaconConfig makes the configuration of the exit duty of the flags.
func (o *serverOptions) beaconConfig() (beacon.Config, error) {
	cfg := beacon.Config{URL: o.beaconAPI}
	if o.deposits.network == "" {
		return cfg, errors.New("--beacon-api needs --network, so that exits on another network are not taken for ours")
	}
	var err error
	if cfg.Network, err = o.deposits.networkOf(); err != nil {
		return cfg, err
	}
	if cfg.Network.Name == networkCustom {
		cfg.Every = customEpoch
	}
	if err := cfg.Check(); err != nil {
		return cfg, fmt.Errorf("--beacon-api: %w", err)
	}
	return cfg, nil
}

// exitDuties are the duties that need a beacon node: none without one.
func (o *serverOptions) exitDuties(log *slog.Logger, registry prometheus.Registerer) ([]node.Duty, error) {
	if o.beaconAPI == "" {
		return nil, nil
	}
	cfg, err := o.beaconConfig()
	if err != nil {
		return nil, err
	}
	cfg.Logger, cfg.Metrics = log, registry
	duty, err := beacon.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("--beacon-api: %w", err)
	}
	return []node.Duty{node.DutyFunc("exits", func(ctx context.Context, s *node.Session) error {
		return duty.Run(ctx, s)
	})}, nil
}
