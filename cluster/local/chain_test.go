package local

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// firstLine calls something with what is written first.
type firstLine struct {
	call func(string)
}

func (f *firstLine) Write(p []byte) (int, error) {
	if f.call != nil {
		f.call(string(p))
		f.call = nil
	}
	return len(p), nil
}

func TestAChainAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "chain")
	var before []byte
	for range 2 {
		signals := make(chan os.Signal, 2)
		cmd := Command("v1", signals)
		cmd.SetArgs([]string{"chain", "--dir", dir, "--listen", "127.0.0.1:0"})
		cmd.SetErr(&bytes.Buffer{})
		cmd.SetOut(&firstLine{func(said string) {
			require.Contains(t, said, dir)
			var values struct {
				Network  struct{ Custom struct{ ChainID uint64 } }
				Deposits struct {
					ExecutionRPC      []string
					WithdrawalAddress common.Address
					Funding           struct{ KeystoreKey, PasswordKey string }
				}
			}
			text, err := os.ReadFile(filepath.Join(dir, "values.yaml"))
			require.NoError(t, err)
			require.NoError(t, yaml.Unmarshal(text, &values))
			client, err := ethclient.DialContext(t.Context(), values.Deposits.ExecutionRPC[0])
			require.NoError(t, err)
			defer client.Close()
			id, err := client.ChainID(t.Context())
			require.NoError(t, err)
			require.Equal(t, values.Network.Custom.ChainID, id.Uint64())
			wei, err := client.BalanceAt(t.Context(), values.Deposits.WithdrawalAddress, nil)
			require.NoError(t, err)
			require.Positive(t, wei.Sign())
			require.FileExists(t, filepath.Join(dir, "funding", values.Deposits.Funding.PasswordKey))
			account, err := os.ReadFile(filepath.Join(dir, "funding", values.Deposits.Funding.KeystoreKey))
			require.NoError(t, err)
			require.True(t, before == nil || bytes.Equal(before, account), "the same chain goes on")
			before = account
			signals <- syscall.SIGHUP // of no concern
			signals <- syscall.SIGTERM
		}})
		require.NoError(t, cmd.ExecuteContext(context.Background())) //nolint:usetesting // the signal ends it
	}
	for _, listen := range []string{"", "8545", "0.0.0.0:8545", "[::]:8545", "localhost:8545"} {
		cmd := Command("v1", nil)
		cmd.SetArgs([]string{"chain", "--dir", dir, "--listen", listen})
		err := cmd.ExecuteContext(t.Context())
		require.ErrorIs(t, err, ErrUsage, listen)
		require.ErrorContains(t, err, "--listen")
	}
}
