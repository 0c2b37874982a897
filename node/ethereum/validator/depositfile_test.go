package validator

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestGoldenDepositFile(t *testing.T) {
	t.Parallel()
	network, err := NetworkByName("hoodi")
	require.NoError(t, err)
	var file bytes.Buffer
	require.NoError(t, EncodeDepositFile(&file, network, goldenDeposits(t, network)))
	if *update {
		require.NoError(t, os.WriteFile("testdata/deposit_data.json", file.Bytes(), 0o600))
	}
	golden, err := os.ReadFile("testdata/deposit_data.json")
	require.NoError(t, err)
	require.Equal(t, string(golden), file.String())
}

// goldenDeposits are three deposits, one of each type of credentials.
func goldenDeposits(t *testing.T, network Network) []DepositData {
	t.Helper()
	seed := testSeed(t)
	withdrawal, err := seed.WithdrawalKey(0)
	require.NoError(t, err)
	amounts := []uint64{ActivationGwei, ActivationGwei, MaxCompoundingGwei}
	deposits := make([]DepositData, len(amounts))
	for i, credentials := range []Credentials{
		BLSCredentials(withdrawal.PublicKey()), AddressCredentials(testAddress), CompoundingCredentials(testAddress),
	} {
		key, err := seed.SigningKey(uint64(i))
		require.NoError(t, err)
		deposits[i], err = NewDepositData(key, credentials, amounts[i], network.ForkVersion)
		require.NoError(t, err)
	}
	return deposits
}

// The golden file is checked from its own text alone: keys by EIP-2333 in
// math/big, signatures by pairing in gnark-crypto, roots by a generic tree.
func TestGoldenDepositFileBySecondOpinion(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile("testdata/deposit_data.json")
	require.NoError(t, err)
	var entries []struct {
		PublicKey   string `json:"pubkey"`
		Credentials string `json:"withdrawal_credentials"`
		Amount      uint64 `json:"amount"`
		Signature   string `json:"signature"`
		MessageRoot string `json:"deposit_message_root"`
		DataRoot    string `json:"deposit_data_root"`
		ForkVersion string `json:"fork_version"`
		Network     string `json:"network_name"`
		Version     string `json:"deposit_cli_version"`
	}
	require.NoError(t, json.Unmarshal(golden, &entries))
	require.Len(t, entries, 3)
	seed := testSeed(t).Bytes()
	for i, entry := range entries {
		deposit := DepositData{
			PublicKey: PublicKey(unhex(entry.PublicKey)), Credentials: Credentials(unhex(entry.Credentials)),
			AmountGwei: entry.Amount, Signature: Signature(unhex(entry.Signature)),
		}
		fork := [4]byte(unhex(entry.ForkVersion))
		secret := slowPath(t, seed, 12381, 3600, uint32(i), 0, 0)
		require.Equal(t, slowPublicKey(secret), deposit.PublicKey)
		require.Equal(t, slowSign(t, secret, slowSigningRoot(deposit, fork)), deposit.Signature)
		require.Equal(t, hex.EncodeToString(slowMessageRoot(deposit)), entry.MessageRoot)
		require.Equal(t, hex.EncodeToString(slowDataRoot(deposit)), entry.DataRoot)
		require.Equal(t, "hoodi", entry.Network)
		require.Equal(t, "10000910", entry.ForkVersion)
		require.Equal(t, "2.7.0", entry.Version)
	}
}

func TestDepositFileLooksAsPythonWritesIt(t *testing.T) {
	t.Parallel()
	network := networks["mainnet"]
	var empty, one bytes.Buffer
	require.NoError(t, EncodeDepositFile(&empty, network, nil))
	require.Equal(t, "[]", empty.String())

	deposit := testDeposit(t, 0, network.ForkVersion)
	require.NoError(t, EncodeDepositFile(&one, network, []DepositData{deposit}))
	text := one.String()
	require.True(t, strings.HasPrefix(text, `[{"pubkey": "`), text)
	require.True(t, strings.HasSuffix(text, `", "fork_version": "00000000", "network_name": "mainnet", "deposit_cli_version": "2.7.0"}]`), text)
	require.Contains(t, text, `", "amount": 32000000000, "signature": "`)
	require.NotContains(t, text, "0x")
	require.NotContains(t, text, "\n")
}

func TestDepositFileRefusals(t *testing.T) {
	t.Parallel()
	network := networks["hoodi"]
	deposit := testDeposit(t, 0, network.ForkVersion)
	foreign := testDeposit(t, 1, networks["mainnet"].ForkVersion)
	nameless := network
	nameless.Name = `say "hoodi"`
	for name, refused := range map[string]struct {
		network  Network
		deposits []DepositData
		want     error
	}{
		"twice the same key": {network, []DepositData{deposit, deposit}, ErrDuplicate},
		"another network":    {network, []DepositData{deposit, foreign}, ErrSignature},
		"network name":       {nameless, []DepositData{deposit}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var file bytes.Buffer
			err := EncodeDepositFile(&file, refused.network, refused.deposits)
			require.Error(t, err)
			if refused.want != nil {
				require.ErrorIs(t, err, refused.want)
			}
			require.Empty(t, file.String(), "nothing may be written")
		})
	}
	require.ErrorIs(t, EncodeDepositFile(fullDisk{}, network, []DepositData{deposit}), errFull)
}

var errFull = errors.New("no space left on device")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }
