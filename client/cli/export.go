package cli

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// sentStates are those of deposits whose transaction was sent for sure.
var sentStates = []wire.DepositState{wire.DepositStateSent, wire.DepositStateMined, wire.DepositStateFinal}

// export holds the flags of deposits export.
type export struct {
	connection

	networkName string
	forkVersion string
	outputFile  string
}

func (a *app) exportCommand() *cobra.Command {
	f := &export{}
	cmd := &cobra.Command{
		Use:   "export",
		Short: "print deposit_data.json of what was sent",
		Long: `Prints the deposits whose transactions were sent, in the form of the
deposit_data.json that the deposit command line tools write, in the order of public
keys. Every signature is verified before anything is printed.

Deposits that are only planned are left out, and so are those that are signed and
not known to be sent; how many of the latter is told on stderr.

` + exitHelp,
		Args: noArguments,
		RunE: f.with(a, f.run),
	}
	f.addTo(cmd, defaultTimeout)
	flags := cmd.Flags()
	flags.StringVar(&f.networkName, "network", "", "network_name in the file (default: that of the public network with the deposits' chain ID)")
	flags.StringVar(&f.forkVersion, "fork-version", "", "genesis fork version, on a network that is not public")
	flags.StringVar(&f.outputFile, "output-file", "", "write to this new file instead of stdout")
	complete(cmd, "network", validator.NetworkNames()...)
	return cmd
}

func (f *export) run(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	var deposits []validator.DepositData
	signed, chain := 0, int64(0)
	for d, err := range c.Deposits(ctx, "") {
		if err != nil {
			return err
		}
		if d.State == wire.DepositStateSigned {
			signed++
		}
		if !slices.Contains(sentStates, d.State) {
			continue
		}
		if chain != 0 && d.ChainID != chain {
			return fmt.Errorf("%w: deposits on the chains %d and %d do not fit into one file", client.ErrAnswer, chain, d.ChainID)
		}
		chain = d.ChainID
		data, err := depositDataOf(d)
		if err != nil {
			return err
		}
		deposits = append(deposits, data)
	}
	network, err := f.network(chain)
	if err != nil {
		return err
	}
	var file bytes.Buffer
	if err := validator.EncodeDepositFile(&file, network, deposits); err != nil {
		return fmt.Errorf("deposit data for %s: %w", network.Name, err)
	}
	if signed > 0 && !f.quiet {
		fmt.Fprintf(cmd.ErrOrStderr(), "left out: %s, signed and not known to be sent\n", plural(signed, "deposit"))
	}
	return writeDepositData(cmd, f.outputFile, file.Bytes())
}

// network is that of the deposits, whose signatures say whether it is the right one.
func (f *export) network(chainID int64) (validator.Network, error) {
	for _, name := range validator.NetworkNames() {
		n, err := validator.NetworkByName(name)
		if err == nil && (n.Name == f.networkName || f.networkName == "" && n.ChainID == uint64(chainID)) { //nolint:gosec // chain IDs are below 2^63
			return n, nil
		}
	}
	if f.forkVersion == "" {
		return validator.Network{}, usagef("chain %d is no public network: --network and --fork-version say what the deposits are for", chainID)
	}
	version, err := parseForkVersion(f.forkVersion)
	return validator.Network{Name: orElse(f.networkName, "custom"), ChainID: uint64(chainID), ForkVersion: version}, err //nolint:gosec // as above
}

// depositDataOf reads the public parts of a deposit.
func depositDataOf(d wire.Deposit) (validator.DepositData, error) {
	key, err := validator.ParsePublicKey(d.Pubkey)
	if err != nil {
		return validator.DepositData{}, fmt.Errorf("%w: %w", client.ErrAnswer, err)
	}
	data := validator.DepositData{PublicKey: key, AmountGwei: uint64(d.AmountGwei)} //nolint:gosec // not negative
	for _, part := range []struct {
		into []byte
		text string
	}{{data.Credentials[:], d.WithdrawalCredentials}, {data.Signature[:], d.Signature}} {
		raw, err := hex.DecodeString(strings.TrimPrefix(part.text, "0x"))
		if err != nil || len(raw) != len(part.into) {
			return data, fmt.Errorf("%w: the deposit for %s has %q where %d bytes were expected", client.ErrAnswer, key, part.text, len(part.into))
		}
		copy(part.into, raw)
	}
	return data, nil
}
