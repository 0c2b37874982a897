package local

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/cluster/local/devchain"
)

// DefaultChainDir is the folder of a chain without a cluster.
const DefaultChainDir = ".chain"

const chainHelp = `Run a development chain, for a cluster that runs elsewhere, such as in Kubernetes.

In --dir it writes values.yaml, which tells Keysteward's Helm chart about the chain,
and the account that pays, in funding/. The chain stays until Ctrl-C, and goes on the
next time. Whoever reaches --listen can use it; its ether is worth nothing.`

// chainCommand runs the chain alone.
func chainCommand(signals <-chan os.Signal) *cobra.Command {
	dir, listen := DefaultChainDir, ""
	cmd := &cobra.Command{
		Use:     "chain --listen HOST:PORT",
		Short:   "Run a development chain alone",
		Long:    chainHelp,
		Example: "  keysteward-local chain --listen 10.89.1.1:8545",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, _, err := net.SplitHostPort(listen)
			if ip := net.ParseIP(host); err != nil || ip == nil || ip.IsUnspecified() {
				return fmt.Errorf("%w: --listen %q: want IP:PORT, as the cluster reaches it", ErrUsage, listen)
			}
			return runChain(cmd.Context(), dir, listen, cmd.OutOrStdout(), cmd.ErrOrStderr(), signals)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", dir, "folder of the chain; made if it is missing")
	cmd.Flags().StringVar(&listen, "listen", "", "address of its JSON-RPC, IP:PORT (required)")
	return cmd
}

func runChain(ctx context.Context, dir, listen string, out, log io.Writer, signals <-chan os.Signal) error {
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	account, err := openFunding(&folder{path: dir}, "funding")
	if err != nil {
		return err
	}
	chain, err := devchain.Start(ctx, devchain.Config{
		Dir: filepath.Join(dir, "chain"), RPCAddr: listen, Funded: account.Address,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	values := filepath.Join(dir, "values.yaml")
	if err := writeFile(values, chartValues(chain, account)); err != nil {
		_ = chain.Close() //nolint:contextcheck // it closes whatever has ended
		return err
	}
	fmt.Fprintf(out, "the chain runs at %s until Ctrl-C\n  %s\n  %s\n", chain.RPC(), values, filepath.Dir(account.Keystore))
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGHUP {
				continue
			}
		case <-chain.Done():
		case <-ctx.Done():
		}
		return chain.Close() //nolint:contextcheck,wrapcheck // it closes whatever has ended, and says what it is
	}
}

// chartValues are those of the Helm chart for a cluster that uses the chain.
func chartValues(chain *devchain.Chain, account funding) []byte {
	return fmt.Appendf(nil, `# For a development chain: helm install … -f this file
network:
  name: custom
  custom: {chainId: %d, depositContract: "%s", forkVersion: "0x%x", confirmations: 1}
deposits:
  executionRpc: ["%s"]
  withdrawalAddress: "%s"
  funding: {secret: funding, keystoreKey: %s, passwordKey: %s}
  maxPerDay: 1000
# Nobody signs with keys of this chain, so nobody has to wait for two epochs to pass.
extraArgs: [--rest-after-proof=5s]
`, chain.ChainID(), chain.DepositContract(), devchain.ForkVersion, chain.RPC(), account.Address, filepath.Base(account.Keystore), filepath.Base(account.Password))
}
