package devchain_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/cluster/local/devchain"
)

// hostEnv holds "folder account" in the process that TestKill starts from this binary.
const hostEnv = "DEVCHAIN_TEST_HOST"

func TestMain(m *testing.M) {
	if job := os.Getenv(hostEnv); job != "" {
		if err := host(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// host runs a chain until it is killed or its parent is gone.
func host(job string) error {
	dir, account, _ := strings.Cut(job, " ")
	chain, err := devchain.Start(context.Background(), devchain.Config{
		Dir: dir, RPCAddr: "127.0.0.1:0", Period: 20 * time.Millisecond, Funded: common.HexToAddress(account),
	})
	if err != nil {
		return err
	}
	fmt.Println(chain.RPC())
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
	return chain.Close()
}

// seen is what a chain's user knows of it.
type seen struct {
	head    *types.Header
	count   uint64
	root    common.Hash
	nonce   uint64
	events  []byte
	genesis common.Hash
}

func look(t *testing.T, d *depositor) seen {
	t.Helper()
	first, err := d.client.BlockByNumber(t.Context(), common.Big0)
	require.NoError(t, err)
	nonce, err := d.client.NonceAt(t.Context(), address(d.key), nil)
	require.NoError(t, err)
	return seen{count: d.count(), root: d.root(), nonce: nonce, events: d.events(), genesis: first.Hash(), head: d.head()}
}

// requireGoesOn checks that nothing of before is lost.
func requireGoesOn(t *testing.T, before seen, d *depositor) {
	t.Helper()
	after := look(t, d)
	require.GreaterOrEqual(t, after.head.Number.Uint64(), before.head.Number.Uint64())
	same, err := d.client.HeaderByNumber(t.Context(), before.head.Number)
	require.NoError(t, err)
	require.Equal(t, before.head.Hash(), same.Hash(), "the newest block that was seen is still there")
	after.head, before.head = nil, nil
	require.Equal(t, before, after)
}

func TestRestart(t *testing.T) {
	t.Parallel()
	key, dir := newKey(t), filepath.Join(t.TempDir(), "made", "by", "start")
	var before seen
	for round := range byte(3) {
		chain := start(t, devchain.Config{Dir: dir, Funded: address(key)})
		d := newDepositor(t, chain.RPC(), key)
		if round > 0 {
			requireGoesOn(t, before, d)
		}
		hash := d.send(round)
		d.mined(hash)
		before = look(t, d)
		require.Equal(t, uint64(round)+1, before.count)
		require.NoError(t, chain.Close())
		require.NoError(t, chain.Close(), "a second time")
	}
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestKill(t *testing.T) {
	t.Parallel()
	key, dir := newKey(t), t.TempDir()
	var before seen
	for round := range byte(4) {
		process, url := spawn(t, dir, key)
		d := newDepositor(t, url, key)
		if round > 0 {
			requireGoesOn(t, before, d)
		}
		for n := range byte(3) {
			d.mined(d.send(3*round + n))
		}
		before = look(t, d)
		require.NoError(t, process.Kill()) // at once: no block later than the one that was seen
		_, err := process.Wait()
		require.NoError(t, err)
		require.Equal(t, 3*uint64(round)+3, before.count)
	}
	requireGoesOn(t, before, newDepositor(t, start(t, devchain.Config{Dir: dir, Funded: address(key)}).RPC(), key))
}

// spawn runs a chain in a process of its own and returns its RPC URL.
func spawn(t *testing.T, dir string, key *ecdsa.PrivateKey) (*os.Process, string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this very binary
	command.Env = append(os.Environ(), hostEnv+"="+dir+" "+address(key).Hex())
	command.Stderr = os.Stderr
	_, err := command.StdinPipe()
	require.NoError(t, err)
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() { _ = command.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return command.Process, strings.TrimSpace(line)
}

func TestForeignFolder(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	ours := devchain.Config{Dir: dir, Funded: common.Address{1}}
	require.NoError(t, start(t, ours).Close())
	require.NoError(t, os.WriteFile(filepath.Join(other, "precious"), nil, 0o600))

	broken := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(broken, "devchain.json"), []byte(`{"chainId":`), 0o600))
	cases := map[string]struct {
		config devchain.Config
		want   string
	}{
		"account":   {devchain.Config{Dir: dir, Funded: common.Address{2}}, "that funds 0x0100000000000000000000000000000000000000"},
		"chain ID":  {devchain.Config{Dir: dir, Funded: common.Address{1}, ChainID: 7777}, "a chain with ID 1263753028, not 7777"},
		"no chain":  {devchain.Config{Dir: other, Funded: common.Address{1}}, `holds "precious"`},
		"no marker": {devchain.Config{Dir: broken, Funded: common.Address{1}}, "cannot be read"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.config.RPCAddr = "127.0.0.1:0"
			_, err := devchain.Start(t.Context(), c.config)
			require.ErrorIs(t, err, devchain.ErrForeignDir)
			require.ErrorContains(t, err, c.want)
		})
	}
	t.Cleanup(func() {
		entries, err := os.ReadDir(other)
		require.NoError(t, err)
		require.Len(t, entries, 1, "a foreign folder stays as it was")
	})
}

func TestFolderInUse(t *testing.T) {
	t.Parallel()
	config := devchain.Config{Dir: t.TempDir(), RPCAddr: "127.0.0.1:0", Funded: common.Address{1}}
	start(t, config)
	_, err := devchain.Start(t.Context(), config)
	require.ErrorIs(t, err, devchain.ErrDirInUse)
}

func TestUnfinishedClaim(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "devchain.json.tmp"), []byte("{"), 0o600))
	require.NoError(t, start(t, devchain.Config{Dir: dir, Funded: common.Address{1}}).Close())
}

// TestCloseLeavesNothing is not parallel: it counts the goroutines of the process.
func TestCloseLeavesNothing(t *testing.T) { //nolint:paralleltest // other chains would be counted
	chain := start(t, devchain.Config{Dir: t.TempDir(), Funded: common.Address{1}})
	at := strings.TrimPrefix(chain.RPC(), "http://")
	d := newDepositor(t, chain.RPC(), newKey(t))
	d.head()
	require.Equal(t, 1, listeners(t), "RPC is the only port")
	d.client.Close()
	require.NoError(t, chain.Close())
	select {
	case <-chain.Done():
	default:
		t.Fatal("Done is open after Close")
	}
	require.Zero(t, listeners(t))
	_, err := new(net.Dialer).DialContext(t.Context(), "tcp", at)
	require.Error(t, err)
	require.Eventually(t, func() bool { return leftover() == "" }, patience, 10*time.Millisecond,
		"these goroutines stay: %s", leftover())
}

// leftover returns the stacks of go-ethereum's, pebble's and this package's goroutines, but for
// the workers that recover senders: go-ethereum keeps one set of them for the whole process.
func leftover() string {
	buffer := make([]byte, 1<<20)
	var stacks []string
	for _, stack := range strings.Split(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
		ours := strings.Contains(stack, "go-ethereum") || strings.Contains(stack, "pebble") ||
			strings.Contains(stack, "devchain.(") || strings.Contains(stack, "leveldb")
		if ours && !strings.Contains(stack, "leftover") && !strings.Contains(stack, "txSenderCacher") {
			stacks = append(stacks, stack)
		}
	}
	return strings.Join(stacks, "\n\n")
}

// listeners counts the TCP and UDP sockets of this process that accept from outside.
func listeners(t *testing.T) int {
	t.Helper()
	own := map[string]bool{}
	files, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil && strings.HasPrefix(target, "socket:[") {
			own[strings.Trim(target, "socket:[]")] = true
		}
	}
	count := 0
	for table, state := range map[string]string{"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"} {
		raw, err := os.ReadFile("/proc/self/net/" + table)
		require.NoError(t, err)
		for _, line := range strings.Split(string(raw), "\n") {
			if fields := strings.Fields(line); len(fields) > 9 && fields[3] == state && own[fields[9]] {
				count++
			}
		}
	}
	return count
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
