package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/keysteward/keysteward/api"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/ethereum"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// serverOptions are the flags of `keysteward server`.
type serverOptions struct {
	name, dataDir           string
	apiAddr, apiAdvertise   string
	raftAddr, raftAdvertise string
	peers                   []string
	invited                 bool
	scale                   scaleOptions
	tls                     tlsOptions
	maxConnections          int
	seal                    []string
	callers                 callerOptions
	witness                 string
	restAfterProof          time.Duration
	leaseDuration           time.Duration
	maxKeysPerPod           int
	assignmentsPublic       bool
	heartbeat, election     time.Duration
	lease, shutdown         time.Duration
	drain                   time.Duration
	minFreeDisk             minFree
	snapshotsKept           int
	logFormat, logLevel     string
	watch                   watchOptions
	beaconAPI               string
	auditFile               string
	backup                  backupOptions
	deposits                depositOptions
}

// depositOptions are the flags about the chain and the money.
type depositOptions struct {
	flags                  *pflag.FlagSet // all of them, to tell which were given
	rpc                    []string
	network                string
	chainID                uint64
	genesisTime            int64
	genesisRoot            string
	contract, forkVersion  string
	confirmations          uint64
	startBlock             uint64
	unusedBefore           bool
	withdrawalAddress      string
	compounding, bls       bool
	maxFeeGwei             uint64
	amountGwei             uint64
	keystore, passwordFile string
	signer, signerAddress  string
	inFlight               int
	maxPerDay              int
	spareKeys              int
	onOff                  string
}

const defaultRest = 2 * 32 * 12 * time.Second // what is left of an epoch, and the next one

// minLease is thrice what one tick may add to cluster time at once ([fsm.MaxTickMS]):
// it may end a lease early by that much, and holders stop after half of a lease.
const minLease = 3 * fsm.MaxTickMS * time.Millisecond

func (o *serverOptions) bind(f *pflag.FlagSet) {
	host, _ := os.Hostname()
	f.StringVar(&o.name, "name", host, "name of this node; its ID is minted from it once")
	f.StringVar(&o.dataDir, "data-dir", "", "folder for log, snapshots and the node's ID (required)")
	f.StringVar(&o.apiAddr, "api-addr", "127.0.0.1:8200", "address of the API; beyond loopback it needs --tls-cert")
	f.StringVar(&o.apiAdvertise, "advertise-api", "", "URL under which clients reach this node (default: from --api-addr)")
	f.StringVar(&o.raftAddr, "raft-addr", "127.0.0.1:8300", "address for the other members; beyond loopback it needs --raft-tls-cert")
	f.StringVar(&o.raftAdvertise, "advertise-raft", "", "host:port under which the other members reach this node (default: --raft-addr)")
	f.StringSliceVar(&o.peers, "peers", nil, "members that found the cluster together, NAME=HOST:PORT,…; a node of their kind that is none of them, such as ks-3 beside ks-0, ks-1 and ks-2, is let into their cluster")
	f.BoolVar(&o.invited, "invited", false, "this node is none of the founders' kind, and an operator lets it into the cluster of --peers: keysteward cluster join")
	o.scale.bind(f)
	o.tls.bind(f)
	f.IntVar(&o.maxConnections, "max-connections", api.DefaultMaxConnections, "connections that the API keeps open; one more closes the one that was idle for longest, or is refused if none is idle")
	o.callers.bind(f)
	f.StringSliceVar(&o.seal, "seal", nil, "key-encryption keys that may open the secrets, tried in this order: file:/PATH with 64 hex digits, such as openssl rand -hex 32 writes; passphrase:/PATH; tpm:DEVICE; kms:[NAME@]unix:///SOCKET (at least one is required)")
	f.StringVar(&o.witness, "witness", api.WitnessOperator, "who testifies that a pod is gone: kubernetes, the one of --kubernetes (and operators); operator (release --confirm-stopped); or none: a release is taken as proof")
	f.DurationVar(&o.restAfterProof, "rest-after-proof", defaultRest, "how long a key rests after the proof, in cluster time; shorter only on a custom network")
	f.DurationVar(&o.leaseDuration, "lease-duration", 0, "leases of pods' keys: how much cluster time after its last renewal a holder is taken to have stopped; keysteward hold stops it after half of that. At least 3m, but on a custom network; the same on all nodes (0: no leases)")
	f.IntVar(&o.maxKeysPerPod, "max-keys-per-pod", api.DefaultMaxKeysPerPod, "most keys that one pod may ask for")
	f.BoolVar(&o.assignmentsPublic, "assignments-public", false, "show /assignments without a token")
	f.DurationVar(&o.heartbeat, "heartbeat-timeout", node.DefaultHeartbeatTimeout, "time without word from the leader before an election")
	f.DurationVar(&o.election, "election-timeout", 0, "time after which a candidate tries again (default: --heartbeat-timeout)")
	f.DurationVar(&o.lease, "lease-timeout", 0, "time without a quorum after which a leader steps down; at most half of --heartbeat-timeout, which is the default")
	f.DurationVar(&o.shutdown, "shutdown-timeout", 10*time.Second, "how long handing leadership over may take when the node stops")
	f.DurationVar(&o.drain, "drain", 0, "how long a node that stops goes on serving after it has said that it is not ready, so that nobody is sent to it any more when its port closes")
	f.Var(&o.minFreeDisk, "min-free-disk", "free space on the disk of --data-dir, such as 256Mi, below which the node is not ready and hands leadership over (default: 256Mi, or 5 % of the disk if that is less; 0: not watched)")
	f.IntVar(&o.snapshotsKept, "snapshots-kept", node.DefaultSnapshotsKept, "how many snapshots stay on the disk of --data-dir")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	o.watch.bind(f)
	f.StringVar(&o.beaconAPI, "beacon-api", "", "URL of a beacon node's API; with it exited, slashed and withdrawn validators are retired (needs --network)")
	f.StringVar(&o.auditFile, "audit-file", "", "file to which every audit record is appended as a line of JSON, for shipping; each node has its own")
	o.backup.bind(f)
	o.deposits.bind()
	f.AddFlagSet(o.deposits.flags)
}

func (o *depositOptions) bind() {
	f := pflag.NewFlagSet("deposits", pflag.ContinueOnError)
	o.flags = f
	f.StringSliceVar(&o.rpc, "execution-rpc", nil, "JSON-RPC URL of an execution client; given more than once, one that is down or lags is passed over; without one no deposit is made")
	f.StringVar(&o.network, "network", "", "mainnet, sepolia, holesky, hoodi or custom")
	f.Uint64Var(&o.chainID, "chain-id", 0, "chain ID of a custom network")
	f.Int64Var(&o.genesisTime, "genesis-time", 0, "genesis of a custom network's beacon chain in Unix seconds, for slashing protection")
	f.StringVar(&o.genesisRoot, "genesis-validators-root", "", "genesis validators root of a custom network, 0x…, for slashing protection (EIP-3076)")
	f.StringVar(&o.contract, "deposit-contract", "", "deposit contract of a custom network, 0x…")
	f.StringVar(&o.forkVersion, "fork-version", "", "genesis fork version of a custom network, 0x and 8 hex digits")
	f.Uint64Var(&o.confirmations, "confirmations", 0, "blocks after which a deposit is final, on a custom network (default: the finalized block)")
	f.Uint64Var(&o.startBlock, "deposit-start-block", 0, "first block whose deposits are read, such as the one in which the deposit contract was made; if the contract took deposits before it, none is made without --seed-unused-before-start-block")
	f.BoolVar(&o.unusedBefore, "seed-unused-before-start-block", false, "your word that nobody but this cluster deposited for keys of its seed before --deposit-start-block: if that is wrong, they are paid for twice")
	f.StringVar(&o.withdrawalAddress, "withdrawal-address", "", "execution address to which stakes are withdrawn (credentials 0x01)")
	f.BoolVar(&o.compounding, "compounding", false, "with --withdrawal-address: compounding validators (credentials 0x02)")
	f.BoolVar(&o.bls, "bls-withdrawal", false, "withdrawal keys of the same seed (credentials 0x00)")
	f.Uint64Var(&o.amountGwei, "amount-gwei", 32_000_000_000, "stake per key in gwei")
	f.StringVar(&o.keystore, "funding-keystore", "", "keystore file of the account that pays")
	f.StringVar(&o.passwordFile, "funding-password-file", "", "file with the password of --funding-keystore")
	f.StringVar(&o.signer, "funding-signer", "", "external signer (clef) of the account that pays: its URL, or the path of its socket")
	f.StringVar(&o.signerAddress, "funding-address", "", "address of the account that pays, with --funding-signer")
	f.Uint64Var(&o.maxFeeGwei, "max-fee-gwei", ethereum.DefaultMaxFeeGwei, "most that a deposit's transaction ever offers, in gwei per gas; below it one that stays unmined is replaced by a dearer one")
	f.IntVar(&o.inFlight, "deposits-in-flight", ethereum.DefaultInFlight, "deposits that may be signed and not mined at a time")
	f.IntVar(&o.maxPerDay, "max-deposits-per-day", 0, "deposits that may be signed within 24 hours of cluster time; more wait (0: no limit)")
	f.IntVar(&o.spareKeys, "spare-keys", 0, "keys that are kept in stock beyond what pods asked for, free or with their deposits on their way")
	f.StringVar(&o.onOff, flagDeposits, "on", "off: no new deposits; requests get keys of the pool, and what it can not fill whole is refused")
}

// check finds what is wrong with the flags before anything is touched.
func (o *serverOptions) check() error {
	for _, required := range []struct{ flag, value string }{
		{"name", o.name}, {"data-dir", o.dataDir}, {"seal", strings.Join(o.seal, ",")},
	} {
		if required.value == "" {
			return fmt.Errorf("--%s is required", required.flag)
		}
	}
	if len(o.deposits.rpc) > 0 || o.deposits.network != "" && o.deposits.network != networkCustom {
		if _, err := o.deposits.networkOf(); err != nil {
			return err
		}
	}
	if o.beaconAPI != "" {
		if _, err := o.beaconConfig(); err != nil {
			return err
		}
	}
	if err := errors.Join(o.checkTimes(), o.callers.check(o.maxKeysPerPod), o.checkWitness(), o.scale.check(o.callers.kubernetes), o.backup.check(), o.watch.check()); err != nil {
		return err
	}
	if err := o.checkAddresses(); err != nil {
		return err
	}
	switch {
	case o.maxConnections < 1:
		return fmt.Errorf("--max-connections %d: at least 1", o.maxConnections)
	case o.snapshotsKept < 1:
		return fmt.Errorf("--snapshots-kept %d: at least 1", o.snapshotsKept)
	case o.drain < 0:
		return fmt.Errorf("--drain %v: not negative", o.drain)
	case o.maxKeysPerPod < 1:
		return fmt.Errorf("--max-keys-per-pod %d: at least 1", o.maxKeysPerPod)
	}
	return nil
}

func (o *serverOptions) checkAddresses() error {
	for _, a := range []struct{ flag, value string }{
		{"api-addr", o.apiAddr}, {"raft-addr", o.raftAddr}, {"advertise-raft", o.raftAdvertise},
	} {
		if _, _, err := net.SplitHostPort(a.value); err != nil && (a.value != "" || a.flag != "advertise-raft") {
			return fmt.Errorf("--%s %q: want HOST:PORT", a.flag, a.value)
		}
	}
	if o.apiAdvertise != "" {
		u, err := url.Parse(o.apiAdvertise)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return fmt.Errorf("--advertise-api %q: want http://HOST:PORT or https://HOST:PORT", o.apiAdvertise)
		}
	}
	return o.tls.check(o)
}

// beaconChain is what slashing protection has to know, nil if the flags do not say it.
func (o *depositOptions) beaconChain() (*api.Chain, error) {
	c := &api.Chain{SecondsPerSlot: 12, SlotsPerEpoch: 32}
	if o.network == "" || o.network == networkCustom {
		if o.genesisTime == 0 && o.genesisRoot == "" {
			return nil, nil //nolint:nilnil // there may be none
		}
		root, err := hex.DecodeString(strings.TrimPrefix(o.genesisRoot, "0x"))
		if err != nil || len(root) != len(c.GenesisValidatorsRoot) || o.genesisTime < 1 {
			return nil, fmt.Errorf("--genesis-time %d, --genesis-validators-root %q: want Unix seconds, and 0x with 64 hex digits", o.genesisTime, o.genesisRoot)
		}
		c.GenesisTime, c.GenesisValidatorsRoot = time.Unix(o.genesisTime, 0), [32]byte(root)
		return c, nil
	}
	if o.genesisTime != 0 || o.genesisRoot != "" {
		return nil, errors.New("--genesis-time and --genesis-validators-root are for --network custom")
	}
	n, err := validator.NetworkByName(o.network)
	if err != nil {
		return nil, fmt.Errorf("--network: %w, or %s", err, networkCustom)
	}
	c.GenesisTime, c.GenesisValidatorsRoot = time.Unix(int64(n.GenesisTime), 0), n.GenesisValidatorsRoot //nolint:gosec // a table of ours
	return c, nil
}

// checkTimes checks times that depend on others.
func (o *serverOptions) checkTimes() error {
	switch {
	case o.restAfterProof < 0, o.restAfterProof < defaultRest && o.deposits.network != networkCustom:
		return fmt.Errorf("--rest-after-proof %v: at least %v, but on a custom network", o.restAfterProof, defaultRest)
	case o.leaseDuration < 0, o.leaseDuration%time.Millisecond != 0, o.leaseDuration != 0 && o.leaseDuration < minLease && o.deposits.network != networkCustom:
		return fmt.Errorf("--lease-duration %v: 0, or at least %v, but on a custom network", o.leaseDuration, minLease)
	case o.lease > o.heartbeat/2:
		return fmt.Errorf("--lease-timeout %v: at most half of --heartbeat-timeout, %v", o.lease, o.heartbeat)
	case o.election != 0 && o.election < o.heartbeat:
		return fmt.Errorf("--election-timeout %v: at least --heartbeat-timeout, %v", o.election, o.heartbeat)
	}
	return nil
}

// logger writes to standard error in the format and from the level that were asked for.
func (o *serverOptions) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", o.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	switch strings.ToLower(o.logFormat) {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), nil
	}
	return nil, fmt.Errorf("--log-format %q: want text or json", o.logFormat)
}
