package ethereum

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Two that read at once, with clients at different heads, disturb nothing.
func TestIndexIsReadByTwoAtOnce(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 2500, 2)
	x := s.open()
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() { require.NoError(t, x.Run(ctx, func() *fsm.View { return fsm.New().View() })) })
	}
	c, err := dial(ctx, s.url)
	require.NoError(t, err)
	for range 200 {
		s.set(func(f *fakeChain) { f.head++ })
		e, err := lookAt(ctx, c, s.cfg)
		require.NoError(t, err)
		complete, err := x.readTo(ctx, c, e, history{}, passRequests)
		if err == nil && complete {
			key := s.key(s.count(uint64(e.head.Number)) - 1)
			events, err := x.seen(key)
			require.NoError(t, err)
			require.Len(t, events, 1, "complete to block %d", uint64(e.head.Number))
		}
	}
	stop()
	wait.Wait()
	s.finish(x)
	s.requireAll(x)
	require.Equal(t, s.count(s.head), x.Status().Events)
}

// A node that does not lead reads as well, and shows how far it has come.
func TestFollowerIndexes(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Metrics = registry })
	s.history(2)
	d := s.duty()
	require.Equal(t, IndexStatus{}, d.Indexer().Status())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.Indexer().Run(ctx, s.machine.View) }()
	want := IndexStatus{NextBlock: 3, Head: 2, Events: 2, Complete: true}
	require.Eventually(t, func() bool { return d.Indexer().Status() == want }, patience, time.Millisecond)
	s.history(1)
	want = IndexStatus{NextBlock: 4, Head: 3, Events: 3, Complete: true}
	// the same key again, in another block
	require.Eventually(t, func() bool { return d.Indexer().Status() == want }, patience, time.Millisecond)
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP keysteward_deposit_events_next_block The first block whose DepositEvents this node has not read.
# TYPE keysteward_deposit_events_next_block gauge
keysteward_deposit_events_next_block 4
`), "keysteward_deposit_events_next_block"))
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)

	s.front.refusing(func(call rpcCall) bool { return call.Method == "eth_chainId" })
	require.Eventually(t, func() bool { return d.Indexer().Status().Code == ChainUnreachable }, patience, time.Millisecond)
	require.False(t, d.Indexer().Status().Complete)
	stop()
	require.NoError(t, <-ended)
	require.NoError(t, d.Indexer().Close())
	_, err = d.Indexer().seen([48]byte{1})
	requireWaits(t, err, IndexFailed, "not open")
}

// A client that is down, or does not show all events, has the next one asked.
func TestIndexAsksAnotherClient(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 30, 2)
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	s.cfg.RPC = []string{dead.URL, s.url}
	x := s.open()
	k := &keeper{indexer: x, view: fsm.New().View, log: s.cfg.Logger}
	defer k.disconnect()
	complete, err := k.readOn(t.Context())
	require.NoError(t, err)
	require.True(t, complete)
	s.requireAll(x)
}

// An answer counts only if nothing else was read since the question.
func TestLateAnswerIsLeftAside(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 50, 2)
	x := s.open()
	c, err := dial(t.Context(), s.url)
	require.NoError(t, err)
	defer c.rpc.Close()
	e, err := lookAt(t.Context(), c, s.cfg)
	require.NoError(t, err)
	require.NoError(t, x.begin(chainIdentity{chainID: simulatedChainID, genesis: e.genesis.Hash, contract: contractAddress}))
	first, late := x.plan(50, nil), x.plan(50, nil)
	for _, q := range []*eventQuery{first, late} {
		require.NoError(t, x.ask(t.Context(), c, q))
		require.NoError(t, x.take(c.host, q))
	}
	status := x.Status()
	require.Equal(t, uint64(51), status.NextBlock)
	require.Empty(t, status.Code, "the same events again would look like a gap")
	require.Len(t, x.read, 1)
	s.requireAll(x)
}

// When others have read on, the head that a pass saw must be in the same chain.
func TestIndexAheadOfTheHead(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 50, 2)
	x := s.open()
	s.finish(x)
	c, err := dial(t.Context(), s.url)
	require.NoError(t, err)
	defer c.rpc.Close()
	at := func(number uint64) *block { return &block{Number: hexutil.Uint64(number), Hash: s.hash(number)} }
	for _, number := range []uint64{50, 49, 7} {
		complete, err := x.holds(t.Context(), c, at(number))
		require.NoError(t, err)
		require.True(t, complete)
	}
	gone := at(49)
	gone.Hash[0] ^= 1
	_, err = x.holds(t.Context(), c, gone)
	requireWaits(t, err, IndexingEvents, "block 49 changed")
	before := at(40)
	s.set(func(f *fakeChain) { f.fork = 45 }) // the last block that was read is gone
	_, err = x.holds(t.Context(), c, before)
	requireWaits(t, err, IndexingEvents, "block 40 changed")
}

// The duty signs nothing while DepositEvents can not be kept.
func TestDutyWaitsForTheIndex(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader)) // the file is open
	s = newScene(t, s.chain, 2, func(cfg *Config) { cfg.IndexFile = filepath.Join(t.TempDir(), "no", "file") })
	s.ask("a", 1)
	d, leader = s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(IndexFailed), s.status(), s.detail())
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_PLANNED, s.only().GetState())
	require.Zero(t, s.nonce(s.address()))
}
