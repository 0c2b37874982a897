package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/keysteward/keysteward/client/keystore"
	"github.com/keysteward/keysteward/cluster/await"
	"github.com/keysteward/keysteward/cluster/local/devchain"
)

const (
	keysPerExample = "2"
	exampleTime    = "3m" // for keys whose deposits take some seconds
)

// up does everything until the cluster has handed out the examples' keys.
func (l *launcher) up(ctx context.Context, count int) error {
	if err := l.remember(count); err != nil {
		return err
	}
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"accounts and tokens", l.openSecrets},
		{"chain", l.startChain},
		{nodesStep(count), l.startNodes},
		{"seed", l.initSeed},
	}
	for i := range l.options.Examples {
		pod, _ := l.site.example(i)
		steps = append(steps, struct {
			name string
			do   func(context.Context) error
		}{"pod " + pod, func(ctx context.Context) error { return l.allocate(ctx, i) }})
	}
	for _, step := range steps {
		if err := context.Cause(ctx); err != nil {
			return err //nolint:wrapcheck // says who
		}
		if err := l.console.run(step.name, func() error { return step.do(ctx) }); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return l.show(ctx)
}

func nodesStep(count int) string {
	if count == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", count)
}

// remember notes nodes and ports before anything else is made, so that the folder
// is known as ours from then on. A cluster.json of an earlier run is void.
func (l *launcher) remember(count int) error {
	m := l.folder.memory
	m.Nodes, m.Ports = count, l.site.ports
	m.TLS = m.TLS || l.options.TLS
	if l.folder.fresh {
		m.FundingETH = l.options.FundingETH
	}
	if err := l.folder.remember(m); err != nil {
		return err
	}
	if err := os.RemoveAll(l.folder.in(ClusterFileName)); err != nil {
		return fmt.Errorf("remove the old %s: %w", ClusterFileName, err)
	}
	return nil
}

func (l *launcher) openSecrets(context.Context) (err error) {
	s := l.site
	if s.funding, err = openFunding(l.folder, "funding"); err != nil {
		return err
	}
	if l.folder.memory.FundingETH > 0 { // else there is no need for a faucet
		if s.faucet, err = openFunding(l.folder, faucetFolder); err != nil {
			return err
		}
	}
	if s.tokens, err = openTokens(l.folder); err != nil {
		return err
	}
	if l.folder.memory.TLS {
		if s.tls, err = openCertificates(l.folder, l.folder.memory.Nodes, s.host); err != nil {
			return err
		}
	}
	s.kek = l.folder.in("kek")
	if _, err := keepFile(s.kek, randomHex); err != nil {
		return fmt.Errorf("key-encryption key: %w", err)
	}
	return nil
}

func (l *launcher) startChain(ctx context.Context) error {
	chain, err := devchain.Start(ctx, devchain.Config{
		Dir:       l.folder.in("chain"),
		RPCAddr:   address(l.site.ports.Chain),
		Funded:    l.site.funding.Address,
		FundedETH: l.folder.memory.FundingETH,
		Faucet:    l.site.faucet.Address,
		Logger:    slog.New(slog.NewTextHandler(l.console.lines(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if errors.Is(err, devchain.ErrListen) {
		return fmt.Errorf("--%s: %w; %s", flagChainPort, err, otherPort(flagChainPort))
	}
	if err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	l.chain = chain
	l.site.chain = ClusterChain{
		RPC: chain.RPC(), ChainID: chain.ChainID(), DepositContract: chain.DepositContract().Hex(),
		ForkVersion: fmt.Sprintf("0x%x", devchain.ForkVersion), FundedAddress: l.site.funding.Address.Hex(),
	}
	return nil
}

func (l *launcher) startNodes(ctx context.Context) error {
	if err := l.nodes.start(ctx); err != nil {
		return err
	}
	if err := awaitReady(ctx, l.nodes); err != nil {
		return err
	}
	_, err := awaitMembers(ctx, l.site)
	return err
}

// initSeed gives a new cluster its seed. The words are written before they are
// submitted, so a start that was killed in between goes on with the same.
func (l *launcher) initSeed(ctx context.Context) error {
	installed, err := seedInstalled(ctx, l.site)
	if err != nil {
		return err
	}
	if !installed {
		words := []string{"--mnemonic-out", l.site.mnemonic(), "--yes"}
		if exists(l.site.mnemonic()) {
			words = []string{"--mnemonic-file", l.site.mnemonic(), "--yes"}
		}
		// What it prints is for one who has to keep the words himself.
		if err := l.client(ctx, l.site.tokens.Admin, false, "init", words...); err != nil {
			return err
		}
	}
	return l.writeClusterFile(ctx)
}

// seedInstalled asks until the leader answers.
func seedInstalled(ctx context.Context, s *site) (bool, error) {
	c, err := s.newClient(s.tokens.Admin, s.apiURLs()...)
	if err != nil {
		return false, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var installed bool
	var last error
	err = await.Poll(ctx, func() (bool, error) {
		status, err := c.Seed(ctx)
		installed, last = status.Installed, err
		return err == nil, nil
	})
	if err != nil {
		return false, errors.Join(err, last)
	}
	return installed, nil
}

// allocate gets the keys of an example pod, if it does not have them.
func (l *launcher) allocate(ctx context.Context, i int) error {
	pod, out := l.site.example(i)
	layout := keystore.Layouts()[i%len(keystore.Layouts())]
	return l.client(ctx, l.site.tokens.Operator, true, "allocate",
		"--pod", pod, "--keys", keysPerExample, "--out", out, "--layout", string(layout), "--timeout", exampleTime)
}
