package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

const address = "0x00000000219ab540356cBB839Cbe05303d7705Fa"

func depositArgs(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{"deposit-data", "--mnemonic-file", writeFile(t, words), "--network", "hoodi", "--count", "1"}, more...)
}

// The file that package validator checks with a second implementation, made of
// three runs, one for each kind of credentials.
func TestDepositDataIsTheGoldenOne(t *testing.T) {
	t.Parallel()
	runs := [][]string{
		{"--start", "0", "--bls-withdrawal"},
		{"--start", "1", "--withdrawal-address", address},
		{"--start", "2", "--withdrawal-address", address, "--compounding", "--amount-gwei", "2048000000000"},
	}
	var entries []string
	for _, args := range runs {
		got := shell{}.run(t, depositArgs(t, args...)...)
		require.Zero(t, got.code, got.err)
		require.Empty(t, got.err)
		entries = append(entries, strings.TrimSuffix(strings.TrimPrefix(got.out, "["), "]"))
	}
	want, err := os.ReadFile("../../node/ethereum/validator/testdata/deposit_data.json")
	require.NoError(t, err)
	require.Equal(t, string(want), "["+strings.Join(entries, ", ")+"]")
}

func TestDepositDataOfMany(t *testing.T) {
	t.Parallel()
	args := []string{
		"deposit-data", "--mnemonic-file", writeFile(t, words), "--mnemonic-passphrase-file", writeFile(t, "secret\n"),
		"--network", "mainnet", "--start", "4294967276", "--count", "20", "--withdrawal-address", address,
	}
	got := shell{}.run(t, args...)
	require.Zero(t, got.code, got.err)
	var entries []struct {
		PublicKey string `json:"pubkey"`
		Amount    uint64 `json:"amount"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.out), &entries))
	require.Len(t, entries, 20)
	mnemonic, err := validator.ParseMnemonic(words)
	require.NoError(t, err)
	seed := mnemonic.Seed("secret")
	for i, entry := range entries {
		key, err := seed.SigningKey(4294967276 + uint64(i))
		require.NoError(t, err)
		require.Equal(t, key.PublicKey().String(), "0x"+entry.PublicKey)
		require.Equal(t, validator.ActivationGwei, entry.Amount)
	}

	file := filepath.Join(t.TempDir(), "deposit_data.json")
	onTerminal := shell{terminal: true}.run(t, append(args, "--output-file", file)...)
	require.Zero(t, onTerminal.code, onTerminal.err)
	require.Empty(t, onTerminal.out)
	written, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, got.out, string(written))
	again := shell{}.run(t, append(args, "--output-file", file)...)
	require.Equal(t, ExitFailure, again.code)
	require.Contains(t, again.err, "file exists")
}

func TestDepositDataRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		says string
	}{
		{"no credentials", nil, "who gets the stake back"},
		{"two credentials", []string{"--bls-withdrawal", "--withdrawal-address", address}, "give one of"},
		{"compounding to a BLS key", []string{"--bls-withdrawal", "--compounding"}, "needs --withdrawal-address"},
		{"mistyped address", []string{"--withdrawal-address", strings.Replace(address, "BB", "Bb", 1)}, "EIP-55"},
		{"zero address", []string{"--withdrawal-address", "0x" + strings.Repeat("0", 40)}, "zero address"},
		{"too much", []string{"--withdrawal-address", address, "--amount-gwei", "32000000001"}, "out of range"},
		{"too little", []string{"--bls-withdrawal", "--amount-gwei", "999999999"}, "out of range"},
		{"negative amount", []string{"--bls-withdrawal", "--amount-gwei", "-1"}, "--amount-gwei"},
		{"no count", []string{"--bls-withdrawal", "--count", "0"}, "--count"},
		{"huge count", []string{"--bls-withdrawal", "--count", "100001"}, "want 1 to 100000"},
		{"beyond the last index", []string{"--bls-withdrawal", "--start", "4294967296"}, "last index"},
		{"overflow", []string{"--bls-withdrawal", "--start", "18446744073709551615", "--count", "2"}, "last index"},
		{"network", []string{"--bls-withdrawal", "--network", "moon"}, "choose one of mainnet"},
	}
	for _, test := range tests {
		got := shell{}.run(t, depositArgs(t, test.args...)...)
		require.Equal(t, ExitUsage, got.code, "%s: %s", test.name, got.err)
		require.Contains(t, got.err, test.says, test.name)
		require.Empty(t, got.out)
	}
	got := shell{}.run(t, "deposit-data", "--network", "hoodi")
	require.Equal(t, ExitUsage, got.code)
	require.Contains(t, got.err, "--mnemonic-file is required")
}
