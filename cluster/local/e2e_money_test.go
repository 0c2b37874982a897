package local

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
)

// verify runs deposits verify against the chain and returns what it prints.
func (l *launched) verify() string {
	l.t.Helper()
	chain := l.file().Chain
	out, err := l.keysteward("deposits", "verify", "--execution-rpc", chain.RPC,
		"--deposit-contract", chain.DepositContract, "--fork-version", chain.ForkVersion)
	require.NoError(l.t, err, out)
	require.Contains(l.t, out, "no difference")
	return out
}

// The account is emptied by deposits; who asks for more waits, is told why, and
// goes on when there is money again.
func TestAccountIsEmptyAndFilled(t *testing.T) {
	t.Parallel()
	takeSlot(t)
	dir := t.TempDir()
	l := launch(t, dir, "--funding-eth", "70", "--examples", "1").up()
	require.Contains(t, l.verify(), "2 DepositEvents of the cluster's keys, 64000000000 gwei paid by its accounts")

	asked := make(chan error, 1)
	out := filepath.Join(dir, "pods", "late")
	go func() {
		_, err := l.keysteward("allocate", "--pod", "late", "--keys", "2", "--out", out, "--layout", "teku")
		asked <- err
	}()
	var waiting wire.Reason
	require.Eventually(t, func() bool {
		page := get[wire.DepositPage](t, l.leader().API+"/v1/deposits", l.file().AdminTokenFile)
		waiting = page.Waiting
		return waiting.Code != ""
	}, patience, pollTime)
	require.Equal(t, "insufficient-funds", waiting.Code)
	require.Contains(t, waiting.Detail, l.file().Chain.FundedAddress)
	require.Contains(t, l.verify(), "planned 2, final 2")

	_, launcher := binaries(t)
	told, err := exec.CommandContext(t.Context(), launcher, "fund", "--dir", dir, "--eth", "100").CombinedOutput()
	require.NoError(t, err, "%s", told)
	require.Contains(t, string(told), "now has 105.9")
	require.NoError(t, <-asked)
	keys, _ := readPod(t, out, 2)
	first, _ := readPod(t, filepath.Join(dir, "pods", "validator-0"), 2)
	requireDepositedOnce(t, l.file().Chain, append(keys, first...))
	require.Contains(t, l.verify(), "4 DepositEvents of the cluster's keys, 128000000000 gwei")
	file, err := l.keysteward("deposits", "export", "--fork-version", l.file().Chain.ForkVersion)
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(file, `"deposit_data_root"`))
}

func TestFundRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no amount":  {[]string{"fund", "--dir", t.TempDir()}, "--eth 0: want 1"},
		"no cluster": {[]string{"fund", "--dir", t.TempDir(), "--eth", "1"}, "does the cluster run?"},
		"too much":   {[]string{"--funding-eth", "1000000001"}, "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := Command("v", nil)
			cmd.SetArgs(test.args)
			require.ErrorContains(t, cmd.ExecuteContext(t.Context()), test.want)
		})
	}
	dir := t.TempDir()
	require.NoError(t, (&ClusterFile{}).write(dir))
	_, _, err := fund(t.Context(), dir, 1)
	require.ErrorContains(t, err, "had plenty from the beginning")
}
