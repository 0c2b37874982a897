package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/keysteward/keysteward/api"
	"github.com/keysteward/keysteward/client/cli"
	"github.com/keysteward/keysteward/cluster"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/auditlog"
	"github.com/keysteward/keysteward/node/backup/restoring"
	"github.com/keysteward/keysteward/node/backup/schedule"
	"github.com/keysteward/keysteward/node/ethereum"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/kubernetes/clouds"
	"github.com/keysteward/keysteward/node/kubernetes/pods"
	"github.com/keysteward/keysteward/node/kubernetes/statefulset"
	"github.com/keysteward/keysteward/node/seal"
	"github.com/keysteward/keysteward/node/tracing"
)

func newServerCommand() *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run one member of the cluster",
		Long: `Run one member of the cluster until SIGTERM or Ctrl-C.

A new cluster is founded once all --peers have answered that they are empty, by
the first of them. A node with data goes on where it was. One without data asks
the cluster that is there to be let in; /readyz says what it waits for.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return cli.UsageError(err)
			}
			return serve(cmd.Context(), &o)
		},
	}
	o.bind(cmd.Flags())
	cmd.AddCommand(newSealIDCommand(), newInitSecretsCommand())
	return cmd
}

// serve wires one node together and runs it until the context ends.
func serve(ctx context.Context, o *serverOptions) error {
	log, err := o.logger()
	if err != nil {
		return cli.UsageError(err)
	}
	parts, err := o.parts(ctx, log)
	if err != nil {
		return err
	}
	if err := seal.LockedMemory(); err != nil {
		log.Warn("keys may be swapped out to disk", "error", err)
	}
	if failpoint.Enabled {
		log.Warn("this program was built with failpoints: it is for tests, and not for stake")
	}
	log.Info("keysteward runs", "version", version, "node", parts.node.ID(), "api", parts.apiURL, "raft", parts.link.Advertised())
	err = parts.run(ctx, o)
	if err != nil {
		log.Error("this node can not go on", "error", err)
	}
	parts.closeTracing(ctx)
	log.Info("keysteward stops", "node", parts.node.ID())
	if errors.Is(err, errGoesOn) {
		return err
	}
	return errors.Join(err, within(closeWait, parts.close))
}

// parts are what a running node consists of.
type parts struct {
	log      *slog.Logger
	listener net.Listener
	tls      *tls.Config
	apiURL   string

	certificates certificates
	metrics      *prometheus.Registry
	tracing      *tracing.Tracing
	origins      *tracing.Origins

	link     *node.Link
	node     *node.Node
	vault    *seal.Vault
	duty     *ethereum.Duty
	secrets  *clouds.Secrets
	clouds   *clouds.Duty
	pods     *pods.Watcher // nil but with --witness kubernetes
	terms    string        // of deposits
	more     []node.Duty   // that not every node has
	api      *api.Server
	cluster  *cluster.Cluster
	shipper  *auditlog.Shipper // nil without --audit-file
	founders []cluster.Peer
	report   cluster.Report
	scale    *statefulset.Watcher // nil without --statefulset
	backup   *schedule.Schedule   // nil without --backup-every
}

// parts checks and opens everything, the data folder last: what is wrong with
// the flags or the ports leaves the data untouched.
func (o *serverOptions) parts(ctx context.Context, log *slog.Logger) (made *parts, err error) {
	p := &parts{log: log, origins: tracing.NewOrigins()}
	if p.founders, err = o.founders(); err != nil {
		return nil, cli.UsageError(err)
	}
	if p.vault, err = o.vault(log); err != nil {
		return nil, cli.UsageError(err)
	}
	deposits, err := o.deposits.config(o.beaconAPI != "")
	if err != nil {
		return nil, cli.UsageError(err)
	}
	var callers api.Config
	if err := o.callers.addTo(&callers, o.maxKeysPerPod, log); err != nil {
		return nil, err
	}
	if o.callers.tokenHashes == "" && o.tls.api.CA == "" {
		log.Warn("without --token-hashes and --tls-client-ca people are let in by tokens of the cluster's state only; a new cluster has none")
	}
	if o.callers.kubernetes != "" && len(o.deposits.rpc) > 0 && !o.deposits.off() && o.deposits.maxPerDay == 0 {
		log.Warn("pods may ask for keys, and nothing but --pods bounds the deposits that are made for them: set --max-deposits-per-day", "pods", o.callers.pods)
	}
	defer func() {
		if err != nil {
			p.abandon()
		}
	}()
	if err := o.listen(ctx, p); err != nil {
		return nil, err
	}
	if p.tracing, err = o.watch.begin(ctx, o.name, log); err != nil {
		return nil, cli.UsageError(err)
	}
	node.PaceCollector()
	p.node, err = node.Open(node.Config{
		Name: o.name, DataDir: o.dataDir, APIAdvertise: p.apiURL,
		HeartbeatTimeout: o.heartbeat, ElectionTimeout: o.election, LeaseTimeout: o.lease,
		Vault: p.vault, Logger: log, Checks: p.checks, Unfit: p.certificates.unfit, MinFreeDisk: o.minFreeDisk.bytes, SnapshotsKept: o.snapshotsKept,
		Tracer: p.tracing.Tracer(), Origins: p.origins, RequestLevel: o.watch.level,
	}, p.link)
	if err != nil {
		return nil, fmt.Errorf("--data-dir %s: %w", o.dataDir, err)
	}
	return p, o.serving(p, deposits, callers) //nolint:contextcheck // it serves until it is told to stop
}

// vault is that of the key-encryption keys of the flags.
func (o *serverOptions) vault(log *slog.Logger) (*seal.Vault, error) {
	keks := make([]seal.KEK, len(o.seal))
	for i, description := range o.seal {
		var err error
		if keks[i], err = seal.ParseKEK(description); err != nil {
			return nil, fmt.Errorf("--seal: %w", err)
		}
	}
	return seal.NewVault(log, keks...), nil
}

// serving makes what runs on the node: the deposit duty and the API.
func (o *serverOptions) serving(p *parts, deposits ethereum.Config, callers api.Config) (err error) {
	registry, err := p.registry()
	if err != nil {
		return err
	}
	p.metrics = registry
	seeds := ethereum.NewSeeds(p.vault, p.node)
	deposits.Logger, deposits.Metrics = p.log, registry
	deposits.Tracer, deposits.Origins = p.tracing.Tracer(), p.origins
	deposits.IndexFile = filepath.Join(o.dataDir, "deposit-events.db")
	p.terms = deposits.Terms()
	if p.duty, err = ethereum.New(deposits, seeds); err != nil {
		return cli.UsageError(err)
	}
	p.secrets = clouds.NewSecrets(p.vault, p.node)
	if p.clouds, err = clouds.New(clouds.Config{
		Secrets: p.secrets, Logger: p.log, Metrics: registry, Tracer: p.tracing.Tracer(), Origins: p.origins,
	}); err != nil {
		return fmt.Errorf("logical clouds: %w", err)
	}
	if p.more, err = o.exitDuties(p.log, registry); err != nil {
		return cli.UsageError(err)
	}
	if err := errors.Join(o.shipping(p, registry), o.watching(p, registry), o.scaling(p), o.backups(p, registry)); err != nil {
		return err
	}
	chain, err := o.deposits.beaconChain()
	if err != nil {
		return cli.UsageError(err)
	}
	p.cluster = cluster.New(p.membership())
	p.api, err = api.New(api.Config{
		Members: p.cluster, Node: p.node, Vault: seeds, Seal: p.vault, Clouds: p.secrets,
		Tokens: callers.Tokens, Certificates: callers.Certificates, PodTokens: callers.PodTokens, Pods: callers.Pods, RateLimit: callers.RateLimit,
		AllowedNamespaces: callers.AllowedNamespaces, PodRefused: p.podRefused,
		AssignmentsPublic: o.assignmentsPublic, MaxKeysPerPod: o.maxKeysPerPod, MaxConnections: o.connections(p.log), PoolOnly: o.deposits.off(),
		Witness: o.witness, RestAfterProof: o.restAfterProof, LeaseDuration: o.leaseDuration, Chain: chain, DepositEvents: depositEvents(deposits, p.duty.Indexer()),
		Restorer: restoring.New(o.dataDir, p.log), Backups: p.backupStatus(), Notes: p.notes, Logger: p.log, RequestLevel: o.watch.level, Tracer: p.tracing.Tracer(), Registry: registry, Version: version,
	})
	if err != nil {
		return cli.UsageError(err)
	}
	return nil
}

// run serves until the context ends or the node can not go on, then stops in
// this order: refuse work, hand leadership over, drain, finish requests, leave.
func (p *parts) run(ctx context.Context, o *serverOptions) error {
	p.node.Start(p.duties()...)
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, background := errgroup.WithContext(background)
	for _, run := range p.background() {
		g.Go(func() error { return run(background) })
	}
	var failure error
	select {
	case <-ctx.Done():
		drained := time.After(o.drain)
		handover, cancel := context.WithTimeout(background, o.shutdown)
		if err := p.node.StepDown(handover); err != nil {
			p.log.Warn("nobody took the leadership over", "error", err)
		}
		cancel()
		select { // still served: it takes a moment until nobody is sent here any more
		case <-drained:
		case failure = <-p.node.Failed():
		case <-background.Done():
		}
	case failure = <-p.node.Failed():
	case <-background.Done():
	}
	first := context.Cause(background) // of those that run, nil if none has ended by itself
	stop()
	err := within(o.shutdown+lastWait, g.Wait)
	if errors.Is(err, errGoesOn) {
		err = errors.Join(first, err)
	}
	return errors.Join(failure, err)
}

// duties are what this node does while it leads.
func (p *parts) duties() []node.Duty {
	duties := append(p.more, p.vault.Duty(), node.DutyFunc("deposits", func(ctx context.Context, s *node.Session) error { //nolint:gocritic // used once
		return p.duty.Run(ctx, s)
	}), node.HeldBack(node.DutyFunc("clouds", func(ctx context.Context, s *node.Session) error {
		return p.clouds.Run(ctx, s)
	})))
	return append(duties, p.podDuties()...)
}

// background is what runs on every node, leader or not.
func (p *parts) background() []func(context.Context) error {
	list := []func(context.Context) error{
		func(ctx context.Context) error { p.node.LogReadiness(ctx); return nil },
		func(ctx context.Context) error { return p.vault.Run(ctx, p.node.View) },
		func(ctx context.Context) error { return p.duty.Indexer().Run(ctx, p.node.View) },
		func(ctx context.Context) error { return p.api.Serve(ctx, p.listener, p.tls) },
		p.cluster.Run,
	}
	for _, c := range p.certificates.sources() {
		list = append(list, func(ctx context.Context) error { c.Run(ctx); return nil })
	}
	if p.pods != nil {
		list = append(list, p.pods.Run)
	}
	if p.shipper != nil {
		list = append(list, p.shipper.Run)
	}
	if p.scale != nil {
		list = append(list, p.scale.Run)
	}
	if p.backup != nil {
		list = append(list, p.backup.Run)
	}
	return list
}

// checks are lines of readiness beside the node's own.
func (p *parts) checks() []node.Check {
	return append(p.certificates.checks(), p.report.Check())
}

// membership is how the node finds the others.
func (p *parts) membership() cluster.Config {
	c := cluster.Config{
		Node: p.node, Link: p.link, API: p.apiURL, Terms: p.terms, Keys: p.vault.Announced,
		Founders: p.founders, Report: &p.report, Logger: p.log,
	}
	if p.scale != nil {
		c.Scale = p.scale
	}
	return c
}

// abandon closes what was opened before the node took it over.
func (p *parts) abandon() {
	_ = p.closeShipper()
	if p.listener != nil {
		_ = p.listener.Close()
	}
	if p.node != nil {
		_ = within(closeWait, p.node.Close)
	} else if p.link != nil {
		_ = p.link.Close()
	}
}

// notes are lines of /readyz that do not make the node unready.
func (p *parts) notes() []node.Check {
	list := []node.Check{p.vault.Check(p.node.View())}
	if p.shipper != nil {
		list = append(list, p.shipper.Check())
	}
	if p.pods != nil {
		list = append(list, p.pods.Check())
	}
	return list
}
