package ethereum

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
)

// indexScene is a node that indexes a fake chain and does nothing else.
type indexScene struct {
	*fakeChain
	t   *testing.T
	url string
	cfg Config
	log *strings.Builder
}

func newIndexScene(t *testing.T, head, perBlock uint64) *indexScene {
	t.Helper()
	s := &indexScene{fakeChain: &fakeChain{head: head, perBlock: perBlock}, t: t, log: &strings.Builder{}}
	s.url = s.serve(t)
	c := chain{}
	s.cfg = Config{
		RPC: []string{s.url}, Network: c.network(), Confirmations: 64, Poll: time.Millisecond, Now: time.Now,
		IndexFile: filepath.Join(t.TempDir(), "deposit-events.db"), Logger: slog.New(slog.NewTextHandler(s.log, nil)),
	}
	return s
}

// open returns an index as a process has it that starts.
func (s *indexScene) open() *Indexer {
	s.t.Helper()
	x := newIndexer(s.cfg)
	s.t.Cleanup(func() { require.NoError(s.t, x.Close()) })
	return x
}

// round reads for one round of the loop.
func (s *indexScene) round(x *Indexer) (complete bool, err error) {
	s.t.Helper()
	return s.roundWith(x, fsm.New().View())
}

func (s *indexScene) roundWith(x *Indexer, view *fsm.View) (complete bool, err error) {
	s.t.Helper()
	k := &keeper{indexer: x, view: func() *fsm.View { return view }, log: s.cfg.Logger}
	defer k.disconnect()
	complete, err = k.readOn(s.t.Context())
	k.tell(s.t.Context(), complete, err)
	return complete, err
}

// finish reads to the head.
func (s *indexScene) finish(x *Indexer) {
	s.t.Helper()
	for range 1000 {
		complete, err := s.round(x)
		require.NoError(s.t, err)
		if complete {
			return
		}
	}
	s.t.Fatal("the head is never reached")
}

// requireAll checks that the index holds every event of the chain, where it is.
func (s *indexScene) requireAll(x *Indexer) {
	s.t.Helper()
	for index := range s.count(s.head) {
		events, err := x.seen(s.key(index))
		require.NoError(s.t, err)
		require.Len(s.t, events, 1, "event %d", index)
		number := index/s.perBlock + 1
		require.Equal(s.t, number, events[0].BlockNumber)
		require.Equal(s.t, s.hash(number), events[0].BlockHash)
		require.Equal(s.t, index+1, events[0].TxHash.Big().Uint64())
	}
}

// Ranges are bounded, by blocks and, once blocks are full, by events.
func TestIndexReadsInBoundedRanges(t *testing.T) {
	t.Parallel()
	blocks := uint64(1200)
	if underRace {
		blocks = 400
	}
	s := newIndexScene(t, blocks, 20)
	x := s.open()
	s.finish(x)
	s.requireAll(x)
	status := x.Status()
	require.Equal(t, IndexStatus{NextBlock: blocks + 1, Head: blocks, Events: blocks * s.perBlock, Complete: true}, status)
	next := uint64(0)
	for i, span := range s.spans() {
		require.Equal(t, next, span.from, "each block is asked once")
		next = span.to + 1
		length := span.to - span.from + 1
		require.LessOrEqual(t, length, uint64(mostBlocks))
		if i > 4 {
			require.LessOrEqual(t, length*s.perBlock, uint64(2*manyEvents))
		}
	}
	require.Equal(t, blocks+1, next)
}

// A process that starts again goes on where the one before was, whenever that ended.
func TestIndexGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 4000, 8)
	next := uint64(0)
	rounds := 0
	for complete := false; !complete; rounds++ {
		x := newIndexer(s.cfg)
		var err error
		complete, err = s.round(x)
		require.NoError(t, err)
		for _, span := range s.spans() {
			require.Equal(t, next, span.from, "no block is asked twice")
			next = span.to + 1
		}
		require.NoError(t, x.Close())
	}
	require.Greater(t, rounds, 1)
	x := s.open()
	complete, err := s.round(x)
	require.NoError(t, err)
	require.True(t, complete)
	require.Empty(t, s.spans(), "what was read is not asked again")
	s.requireAll(x)
	require.Contains(t, s.log.String(), "was read up to a block before")
}

// A range whose answer is too long is asked for in smaller parts.
func TestIndexAsksForLess(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 60, 5)
	s.most = 40
	x := s.open()
	_, err := s.round(x)
	requireWaits(t, err, ChainUnreachable, "EOF")
	for err != nil {
		require.Greater(t, x.step, uint64(4))
		_, err = s.round(x)
	}
	s.set(func(f *fakeChain) { f.most = 0 })
	s.finish(x)
	s.requireAll(x)
}

// An answer that would fill the memory is an error before it does.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 1000))
	}))
	t.Cleanup(server.Close)
	for most, want := range map[int64]error{999: errAnswerTooLong, 1001: nil} {
		client := http.Client{Transport: boundedTransport{http.DefaultTransport, most}}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
		require.NoError(t, err)
		response, err := client.Do(request)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.ErrorIs(t, err, want)
		require.Len(t, body, int(min(most, 1000)))
		require.NoError(t, response.Body.Close())
	}
}

// Blocks that were reorganised away are read again, and no more than these; what
// was seen in them stays.
func TestIndexFollowsAReorganisation(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 990, 1)
	x := s.open()
	s.finish(x)
	for range 5 {
		s.set(func(f *fakeChain) { f.head += 2 })
		s.finish(x)
	}
	gone := s.key(996)
	s.spans()
	s.set(func(f *fakeChain) { f.fork = 996 })
	s.finish(x)
	require.Equal(t, []blockSpan{{995, 1000}}, s.spans())
	s.requireAll(x)
	events, err := x.seen(gone)
	require.NoError(t, err)
	require.Len(t, events, 1)

	s.set(func(f *fakeChain) { f.head, f.fork = 998, 997 }) // a shorter one
	s.finish(x)
	s.requireAll(x)
}

// Deep reorganisations go back as far as they have to, and not to the start.
func TestCheckpointsAreThinned(t *testing.T) {
	t.Parallel()
	var read []checkpoint
	for number := uint64(0); number < 200_000; number += 97 {
		var dropped []checkpoint
		read, dropped = thin(append(read, checkpoint{number: number}))
		require.LessOrEqual(t, len(dropped), 1)
	}
	require.Len(t, read, recentCheckpoints+19)
	for i := 1; i < len(read); i++ {
		require.LessOrEqual(t, read[i].number-read[i-1].number, uint64(2*mostBlocks))
	}
	require.Zero(t, read[0].number)
	last := read[len(read)-1].number
	require.Equal(t, last-97*(recentCheckpoints-1), read[len(read)-recentCheckpoints].number)
}

// A client that lags behind takes nothing away that was read.
func TestIndexWaitsForAClientThatIsBehind(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 5000, 1)
	s.cfg.Confirmations = 4990
	x := s.open()
	s.finish(x)
	s.set(func(f *fakeChain) { f.head = 100 })
	_, err := s.round(x)
	requireWaits(t, err, ChainBehind, "has come to block 100, and DepositEvents were read up to block 5000")
	require.Equal(t, ChainBehind, x.Status().Code)
	s.set(func(f *fakeChain) { f.head = 5001 })
	s.spans()
	s.finish(x)
	require.Equal(t, []blockSpan{{5001, 5001}}, s.spans())
}

func requireWaits(t *testing.T, err error, code Code, says string) {
	t.Helper()
	w := (*waiting)(nil)
	require.ErrorAs(t, err, &w)
	require.Equal(t, code, w.code, w.detail)
	require.Contains(t, w.detail, says)
}

// A file of something else is not believed.
func TestIndexOfAnotherChain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change   func(*indexScene)
		keeps    bool // what was seen before
		logSays  string
		isAsked  uint64 // first block that is read again
		complete bool
	}{
		"another contract": {change: func(s *indexScene) { s.cfg.Network.DepositContract[0] ^= 1 }, logSays: "is of another chain or contract"},
		"another genesis":  {change: func(s *indexScene) { s.set(func(f *fakeChain) { f.genesis++ }) }, logSays: "is of another chain or contract"},
		"a later start":    {change: func(s *indexScene) { s.cfg.StartBlock = 3 }, keeps: true, logSays: "another start block", isAsked: 3},
		"nothing":          {change: func(*indexScene) {}, keeps: true, logSays: "was read up to a block before", complete: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newIndexScene(t, 10, 1)
			x := s.open()
			s.finish(x)
			old := s.key(0)
			require.NoError(t, x.Close())
			s.spans()

			test.change(s)
			x = s.open()
			_, _ = s.round(x)
			events, err := x.seen(old)
			require.NoError(t, err)
			require.Equal(t, test.keeps, len(events) > 0)
			require.Contains(t, s.log.String(), test.logSays)
			spans := s.spans()
			require.Equal(t, test.complete, len(spans) == 0)
			if len(spans) > 0 {
				require.Equal(t, test.isAsked, spans[0].from)
			}
		})
	}
}

// A full disk is a reason to wait; once there is room reading goes on.
func TestIndexOnAFullDisk(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 5000, 1)
	x := s.open()
	_, err := s.round(x)
	require.NoError(t, err)
	x.file.fault = func() error { return syscall.ENOSPC }
	s.set(func(f *fakeChain) { f.head += 10 })
	_, err = s.round(x)
	requireWaits(t, err, IndexFailed, "no space left on device")
	require.Equal(t, IndexFailed, x.Status().Code)
	require.Contains(t, s.log.String(), "no space left on device")
	x.file.fault = nil
	s.finish(x)
	require.Empty(t, x.Status().Code)
	s.requireAll(x)
}

// A folder that does not take the file is a reason too.
func TestIndexCannotBeMade(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 1, 1)
	s.cfg.IndexFile = filepath.Join(t.TempDir(), "missing", "file")
	_, err := s.round(s.open())
	requireWaits(t, err, IndexFailed, "no such file or directory")
}
