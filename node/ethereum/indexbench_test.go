package ethereum

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
)

// serveFakeChain, in the environment, makes the test binary an execution client
// with perBlock DepositEvents in each of so many blocks: "blocks perBlock".
const serveFakeChain = "KEYSTEWARD_TEST_FAKE_CHAIN"

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(serveFakeChain); ok {
		f := &fakeChain{}
		if _, err := fmt.Sscan(text, &f.head, &f.perBlock); err != nil {
			panic(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		fmt.Println(l.Addr())
		panic((&http.Server{Handler: f, ReadHeaderTimeout: time.Minute}).Serve(l))
	}
	os.Exit(m.Run())
}

// startFakeChain runs a fake chain in a process of its own, so that what it makes
// up does not count, and returns its address.
func startFakeChain(b *testing.B, blocks, perBlock uint64) string {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0]) //nolint:gosec // this very program
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", serveFakeChain, blocks, perBlock))
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b, err)
	return "http://" + strings.TrimSpace(address)
}

// peakHeap watches the heap until it is told to stop, and returns the most that was
// in use, in MiB.
func peakHeap() (stop func() float64) {
	var peak atomic.Uint64
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	return func() float64 {
		close(done)
		<-ended
		return float64(peak.Load()) / (1 << 20)
	}
}

// BenchmarkIndex reads DepositEvents from a chain with 10,000 and with 100,000 of
// them, opens the file again as after a restart, and looks keys up.
func BenchmarkIndex(b *testing.B) {
	for _, blocks := range []uint64{1_000, 10_000} {
		b.Run(fmt.Sprintf("%d_events", 10*blocks), func(b *testing.B) {
			c := chain{}
			cfg := Config{
				RPC: []string{startFakeChain(b, blocks, 10)}, Network: c.network(), Confirmations: 64,
				Now: time.Now, Logger: slog.New(slog.DiscardHandler),
			}
			for b.Loop() {
				cfg.IndexFile = filepath.Join(b.TempDir(), "deposit-events.db")
				benchmarkIndex(b, cfg, blocks)
			}
		})
	}
}

func benchmarkIndex(b *testing.B, cfg Config, blocks uint64) {
	b.Helper()
	chain := &fakeChain{head: blocks, perBlock: 10}
	runtime.GC()
	stop := peakHeap()
	x := newIndexer(cfg)
	started := time.Now()
	readAll(b, x)
	b.ReportMetric(time.Since(started).Seconds(), "s/read")
	b.ReportMetric(stop(), "MiB-heap/read")
	require.Equal(b, 10*blocks, x.Status().Events)
	require.NoError(b, x.Close())
	info, err := os.Stat(cfg.IndexFile)
	require.NoError(b, err)
	b.ReportMetric(float64(info.Size())/(1<<20), "MiB-file")

	x = newIndexer(cfg)
	stop = peakHeap()
	started = time.Now()
	readAll(b, x) // verifies the file, finds that it is at the head
	b.ReportMetric(time.Since(started).Seconds(), "s/reopen")
	b.ReportMetric(stop(), "MiB-heap/reopen")
	const lookups = 10_000
	started = time.Now()
	for i := range uint64(lookups) {
		events, err := x.seen(chain.key(i * 7919 % (10 * blocks)))
		require.NoError(b, err)
		require.Len(b, events, 1)
	}
	b.ReportMetric(float64(time.Since(started).Microseconds())/lookups, "µs/lookup")
	require.NoError(b, x.Close())
}

func readAll(b *testing.B, x *Indexer) {
	b.Helper()
	k := &keeper{indexer: x, view: func() *fsm.View { return fsm.New().View() }, log: x.log}
	defer k.disconnect()
	for complete := false; !complete; {
		var err error
		complete, err = k.readOn(b.Context())
		require.NoError(b, err)
	}
}
