package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/verify"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// errDifferent ends deposits verify when there is a difference.
var errDifferent = errors.New("the chain and the cluster do not agree")

// verification holds the flags of deposits verify.
type verification struct {
	connection
	output

	rpc         string
	contract    string
	forkVersion string
	startBlock  uint64
	settle      time.Duration
}

func (a *app) verifyCommand() *cobra.Command {
	f := &verification{}
	cmd := &cobra.Command{
		Use:   "verify --execution-rpc URL",
		Short: "compare the cluster's deposits with the chain, and print every difference",
		Long: `Reads all DepositEvents from an execution client and all keys, deposits and
accounts from the cluster, and prints every difference: a stake that is not on
the chain, one that was paid twice or by somebody else, other amounts, credentials
or signatures, and nonces that nothing explains. Exit code 0 only if there is none.

The execution client must keep all logs of the deposit contract. It is asked by
this command itself, so it may be another one than the cluster uses. What is on its
way while both sides are read looks different for a moment; it is looked at again
until --settle is over.

` + exitHelp,
		Args: noArguments,
		RunE: f.checked(f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
			return f.run(ctx, cmd, a, c)
		})),
	}
	f.connection.addTo(cmd, 0)
	f.output.addTo(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.rpc, "execution-rpc", "", "http or https URL of an execution client")
	flags.StringVar(&f.contract, "deposit-contract", "", "address of the deposit contract (default: that of the public network)")
	flags.StringVar(&f.forkVersion, "fork-version", "", "genesis fork version that deposits are signed for, to verify signatures on a network that is not public")
	flags.Uint64Var(&f.startBlock, "deposit-start-block", 0, "first block to read")
	flags.DurationVar(&f.settle, "settle", time.Minute, "how long differences are looked at again")
	return cmd
}

// config makes the configuration of the flags.
func (f *verification) config(c *client.Client) (verify.Config, error) {
	cfg := verify.Config{Client: c, ExecutionRPC: f.rpc, StartBlock: f.startBlock, Settle: f.settle}
	if f.rpc == "" {
		return cfg, usagef("--execution-rpc is required (or the environment variable %s)", EnvName("execution-rpc"))
	}
	if f.settle < 0 {
		return cfg, usagef("--settle %s is negative", f.settle)
	}
	if f.contract != "" {
		contract, err := validator.ParseAddress(f.contract)
		if err != nil {
			return cfg, usagef("--deposit-contract: %w", err)
		}
		cfg.Contract = contract
	}
	if f.forkVersion != "" {
		version, err := parseForkVersion(f.forkVersion)
		if err != nil {
			return cfg, err
		}
		cfg.ForkVersion = &version
	}
	return cfg, nil
}

func parseForkVersion(text string) (version [4]byte, err error) {
	raw, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
	if err != nil || len(raw) != len(version) {
		return version, usagef("--fork-version %q: want 0x and 8 hexadecimal digits", text)
	}
	return [4]byte(raw), nil
}

func (f *verification) run(ctx context.Context, cmd *cobra.Command, a *app, c *client.Client) error {
	cfg, err := f.config(c)
	if err != nil {
		return err
	}
	m := a.meter(cmd.ErrOrStderr(), f.quiet || !a.terminal(cmd.ErrOrStderr()))
	defer m.close()
	cfg.Progress = func(done, total uint64) { m.show("blocks read", int(done), int(total)) } //nolint:gosec // numbers of blocks
	report, err := verify.Run(ctx, cfg)
	m.close()
	if errors.Is(err, verify.ErrOtherChain) && f.contract == "" {
		return usagef("%w; --deposit-contract names it", err)
	}
	if err != nil {
		return fmt.Errorf("verify deposits: %w", err)
	}
	if err := f.print(cmd.OutOrStdout(), report, func(g *grid) { verifyTable(g, report) }); err != nil {
		return err
	}
	if n := len(report.Differences); n > 0 {
		return fmt.Errorf("%w: %s", errDifferent, plural(n, "difference"))
	}
	return nil
}

func verifyTable(g *grid, r *verify.Report) {
	if len(r.Differences) > 0 {
		g.row("DIFFERENCE", "WHERE", "DETAIL")
	}
	for _, d := range r.Differences {
		where := d.Pubkey
		if where == "" {
			where = fmt.Sprintf("%s nonce %d", d.Account, d.Nonce)
		}
		g.row(string(d.Kind), where, d.Detail)
	}
	byState := make(map[string]int64)
	for state, n := range r.Deposits {
		byState[string(state)] = int64(n)
	}
	g.note("chain %d up to block %d: %s of the cluster's keys, %d gwei paid by its accounts", r.ChainID, r.Head, plural(r.Events, "DepositEvent"), r.PaidGwei)
	g.note("cluster: %s; deposits: %s; %s accounted for", plural(r.Keys, "key"), counts(byState, depositStates), plural(int(r.Nonces), "nonce"))
	for _, note := range r.Notes {
		g.note("note: %s", note)
	}
	if len(r.Differences) == 0 {
		g.note("no difference")
	}
}
