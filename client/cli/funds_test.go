package cli

import (
	"bytes"
	"net/http"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

func TestInETH(t *testing.T) {
	t.Parallel()
	for wei, want := range map[string]string{
		"0": "0", "1": "0.000000000000000001", "32000000000000000000": "32", "1500000000000000000": "1.5",
		"-1500000000000000000": "-1.5", "999999999999999999": "0.999999999999999999", "": "", "0x1": "0x1",
		"123456789012345678901234567890": "123456789012.34567890123456789",
	} {
		require.Equal(t, want, inETH(wei), wei)
	}
}

func TestPaceIsTold(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	g := &grid{tabwriter.NewWriter(&out, 0, 8, 1, ' ', 0)}
	g.pace(wire.Pace{})
	g.funds(wire.Funds{})
	require.NoError(t, g.w.Flush())
	require.Empty(t, out.String())
	g.pace(wire.Pace{Off: true})
	g.funds(wire.Funds{Account: "0x1", BalanceWei: "1", MissingWei: "0"})
	require.NoError(t, g.w.Flush())
	require.Contains(t, out.String(), "deposits are off")
	require.NotContains(t, out.String(), "missing", "nothing is")
}

// Whoever asks a short pool is told what to do about it, and has nothing.
func TestPoolIsShort(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Intercept = func(node int, w http.ResponseWriter, r *http.Request) bool {
		return r.Method == http.MethodPost && refuse(http.StatusConflict, "pool-short", "pod default/p lacks 2 keys, the pool has 1")(node, w, r)
	}
	dir := t.TempDir()
	got := at(cluster).run(t, allocateArgs(dir, "p", "2", "teku")...)
	require.Equal(t, ExitPoolShort, got.code, got.err)
	require.Contains(t, got.err, "lacks 2 keys, the pool has 1")
	require.Empty(t, got.out)
	require.Empty(t, files(t, dir), "nothing was assigned")
}
