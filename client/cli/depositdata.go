package cli

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// depositData holds the flags of deposit-data.
type depositData struct {
	mnemonicFlags

	network           string
	start             uint64
	count             int
	amountGwei        uint64
	withdrawalAddress string
	compounding       bool
	blsWithdrawal     bool
	outputFile        string
	quiet             bool
}

// maxDeposits bounds one file; launchpads take far fewer.
const maxDeposits = 100_000

func (a *app) depositDataCommand() *cobra.Command {
	f := &depositData{}
	cmd := &cobra.Command{
		Use:   "deposit-data --mnemonic-file F --network NAME --count N (--withdrawal-address 0x… | --bls-withdrawal)",
		Short: "print deposit_data.json without any server",
		Long: `Derives keys of a mnemonic and prints their signed deposits, byte for byte as the
deposit command line tools write them. No server is asked. Every deposit is
verified before anything is printed.

Withdrawal credentials have no default, because stake under wrong ones is lost.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, a) },
	}
	f.addTo(cmd, "file with the words")
	flags := cmd.Flags()
	flags.StringVar(&f.network, "network", "", "network that the deposits are for: "+strings.Join(validator.NetworkNames(), ", "))
	flags.Uint64Var(&f.start, "start", 0, "index of the first key")
	flags.IntVar(&f.count, "count", 0, "number of keys")
	flags.Uint64Var(&f.amountGwei, "amount-gwei", validator.ActivationGwei, "stake of each key in gwei")
	flags.StringVar(&f.withdrawalAddress, "withdrawal-address", "", "execution address to which stakes are withdrawn")
	flags.BoolVar(&f.compounding, "compounding", false, "let balances grow beyond 32 ETH (0x02 credentials)")
	flags.BoolVar(&f.blsWithdrawal, "bls-withdrawal", false, "withdraw by the BLS withdrawal key of the mnemonic (0x00 credentials)")
	flags.StringVar(&f.outputFile, "output-file", "", "write to this new file instead of stdout")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "tell errors only")
	complete(cmd, "network", validator.NetworkNames()...)
	return cmd
}

func (f *depositData) run(cmd *cobra.Command, a *app) error {
	network, credentials, err := f.plan(cmd)
	if err != nil {
		return err
	}
	passphrase, err := f.passphrase()
	if err != nil {
		return err
	}
	mnemonic, err := f.mnemonic()
	if err != nil {
		return err
	}
	seed := mnemonic.Seed(passphrase)
	defer seed.Zero()
	m := a.meter(cmd.ErrOrStderr(), f.quiet || !a.terminal(cmd.ErrOrStderr()))
	defer m.close()
	deposits, err := f.deposits(cmd.Context(), seed, network, credentials, m)
	if err != nil {
		return err
	}
	var file bytes.Buffer
	if err := validator.EncodeDepositFile(&file, network, deposits); err != nil {
		return err
	}
	m.close()
	return writeDepositData(cmd, f.outputFile, file.Bytes())
}

// writeDepositData writes to a new file, or to stdout if none is named.
func writeDepositData(cmd *cobra.Command, name string, content []byte) (err error) {
	if name == "" {
		_, err = cmd.OutOrStdout().Write(content)
	} else {
		err = writeNew(name, content, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write deposit data: %w", err)
	}
	return nil
}

// credentialsOf makes the withdrawal credentials of the key with an index.
type credentialsOf func(seed *validator.Seed, index uint64) (validator.Credentials, error)

// plan checks the flags.
func (f *depositData) plan(cmd *cobra.Command) (validator.Network, credentialsOf, error) {
	var network validator.Network
	if err := requireFlags(cmd, "mnemonic-file", "network", "count"); err != nil {
		return network, nil, err
	}
	network, err := validator.NetworkByName(f.network)
	if err != nil {
		return network, nil, usagef("--network: %w", err)
	}
	if f.count < 1 || f.count > maxDeposits {
		return network, nil, usagef("--count %d: want 1 to %d", f.count, maxDeposits)
	}
	if last := uint64(f.count) - 1; f.start > math.MaxUint32-last {
		return network, nil, usagef("--start %d: the last index would be above %d", f.start, uint32(math.MaxUint32))
	}
	credentials, sample, err := f.credentials()
	if err != nil {
		return network, nil, err
	}
	if err := validator.CheckAmount(f.amountGwei, sample); err != nil {
		return network, nil, usagef("--amount-gwei: %w", err)
	}
	return network, credentials, nil
}

// credentials also returns a sample of the kind, against which the amount is checked.
func (f *depositData) credentials() (credentialsOf, validator.Credentials, error) {
	var sample validator.Credentials
	switch {
	case (f.withdrawalAddress == "") == !f.blsWithdrawal:
		return nil, sample, usagef("give one of --withdrawal-address and --bls-withdrawal: they say who gets the stake back")
	case f.blsWithdrawal && f.compounding:
		return nil, sample, usagef("--compounding needs --withdrawal-address")
	case f.blsWithdrawal:
		return blsCredentials, sample, nil
	}
	address, err := validator.ParseAddress(f.withdrawalAddress)
	if err != nil {
		return nil, sample, usagef("--withdrawal-address: %w", err)
	}
	fixed := validator.AddressCredentials(address)
	if f.compounding {
		fixed = validator.CompoundingCredentials(address)
	}
	return func(*validator.Seed, uint64) (validator.Credentials, error) { return fixed, nil }, fixed, nil
}

func blsCredentials(seed *validator.Seed, index uint64) (validator.Credentials, error) {
	key, err := seed.WithdrawalKey(index)
	if err != nil {
		return validator.Credentials{}, err
	}
	defer key.Zero()
	return validator.BLSCredentials(key.PublicKey()), nil
}

// deposits signs in parallel; the order is that of the indexes.
func (f *depositData) deposits(ctx context.Context, seed *validator.Seed, network validator.Network, credentials credentialsOf, m *meter) ([]validator.DepositData, error) {
	deposits := make([]validator.DepositData, f.count)
	var done atomic.Int64
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	for i := range deposits {
		work.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			deposits[i], err = f.deposit(seed, f.start+uint64(i), network, credentials) //nolint:gosec // an index of a slice
			done.Add(1)
			return err
		})
		m.show("deposits signed", int(done.Load()), f.count)
	}
	return deposits, work.Wait()
}

// deposit signs one deposit, which is verified before it is returned.
func (f *depositData) deposit(seed *validator.Seed, index uint64, network validator.Network, credentials credentialsOf) (validator.DepositData, error) {
	to, err := credentials(seed, index)
	if err != nil {
		return validator.DepositData{}, err
	}
	key, err := seed.SigningKey(index)
	if err != nil {
		return validator.DepositData{}, err
	}
	defer key.Zero()
	return validator.NewDepositData(key, to, f.amountGwei, network.ForkVersion)
}
