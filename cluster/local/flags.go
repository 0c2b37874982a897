package local

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// Names of flags that error messages repeat.
const (
	flagAPIPort   = "api-port"
	flagRaftPort  = "raft-port"
	flagChainPort = "chain-port"

	flagFundingETH = "funding-eth"
)

const help = `Run a Keysteward cluster and a development chain on this machine.

Everything is kept in --dir: started again on it, the same chain, nodes, tokens,
seed and ports go on. Its cluster.json tells scripts what runs where.

Ctrl-C and SIGTERM stop the nodes, then the chain; a second one kills at once.
SIGHUP starts the nodes again that have ended, for instance because you killed
them. Killing the launcher itself leaves no process behind.

The ether on this chain is worth nothing, and --dir holds every secret of the
cluster in the clear. Never use it for stake.`

// Command returns the launcher's command line. Signals are what the process
// receives of SIGINT, SIGTERM and SIGHUP.
func Command(version string, signals <-chan os.Signal) *cobra.Command {
	o := Options{
		APIPort:   Port{Number: DefaultAPIPort},
		RaftPort:  Port{Number: DefaultRaftPort},
		ChainPort: Port{Number: DefaultChainPort},
	}
	cmd := &cobra.Command{
		Use:     "keysteward-local",
		Short:   "Run a Keysteward cluster and a development chain on this machine",
		Long:    help,
		Example: "  keysteward-local --examples 2\n  keysteward-local --dir /tmp/cluster --api-port 0 --raft-port 0 --chain-port 0",
		Version: version,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%w: %s takes no arguments, got %q", ErrUsage, cmd.Name(), args)
			}
			return nil
		},
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.APIPort.Given = cmd.Flags().Changed(flagAPIPort)
			o.RaftPort.Given = cmd.Flags().Changed(flagRaftPort)
			o.ChainPort.Given = cmd.Flags().Changed(flagChainPort)
			if cmd.Flags().Changed("nodes") && o.Nodes < 1 {
				return fmt.Errorf("%w: --nodes %d: want 1 to %d", ErrUsage, o.Nodes, maxNodes)
			}
			return Run(cmd.Context(), o, cmd.OutOrStdout(), signals)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", ErrUsage, err) })
	bind(cmd, &o)
	cmd.AddCommand(fundCommand(), chainCommand(signals))
	return cmd
}

func bind(cmd *cobra.Command, o *Options) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.Dir, "dir", DefaultDir, "folder of all data; made if it is missing")
	f.IntVar(&o.Nodes, "nodes", 0, fmt.Sprintf("how many nodes (default as before, else %d)", DefaultNodes))
	f.IntVar(&o.APIPort.Number, flagAPIPort, DefaultAPIPort, "API port of the first node, the others' follow; 0 picks free ones")
	f.IntVar(&o.RaftPort.Number, flagRaftPort, DefaultRaftPort, "Raft port of the first node, the others' follow; 0 picks free ones")
	f.IntVar(&o.ChainPort.Number, flagChainPort, DefaultChainPort, "port of the chain's JSON-RPC; 0 picks a free one")
	f.Uint64Var(&o.FundingETH, flagFundingETH, 0, "ETH of the account that pays, when the cluster is made (default: plenty); 'keysteward-local fund' adds to it")
	f.IntVar(&o.Examples, "examples", 0, "how many example pods get two keys each")
	f.BoolVar(&o.TLS, "tls", false, "TLS on both ports, with certificates that are made; a folder that was made so stays so")
	f.StringArrayVar(&o.NodeFlags, "node-flag", nil, "flag of 'keysteward server' for every node, which overrules the launcher's, such as --node-flag=--spare-keys=4; repeat it for more")
	f.BoolVar(&o.Once, "once", false, "stop when the examples have their keys; exit 0 if all went well")
	f.StringVar(&o.Keysteward, "keysteward", "", "the keysteward binary (default: beside this one, else in PATH)")
}
