package ethereum

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// pair is a scene with two execution clients on one chain, or on two.
type pair struct {
	*scene
	a, b  *front
	log   *bytes.Buffer
	clock time.Time
}

func newPair(t *testing.T, first, second *chain, number int, changes ...func(*Config)) *pair {
	t.Helper()
	p := &pair{a: newFront(t, first.socket), b: newFront(t, second.socket), log: new(bytes.Buffer), clock: time.Unix(0, 0)}
	p.scene = newScene(t, first, number, append(changes, func(cfg *Config) {
		cfg.RPC = []string{p.a.URL + "/v3/access-key", p.b.URL + "/access-key"}
		cfg.Logger = slog.New(slog.NewTextHandler(p.log, nil))
		cfg.Now = func() time.Time { return p.clock }
	})...)
	return p
}

func host(f *front) string { return strings.TrimPrefix(f.URL, "http://") }

// asked records the methods that a front is asked until the hook is replaced.
func (f *front) asked() func() []string {
	var mu sync.Mutex
	var all []string
	f.hook(func(methods []string) bool {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, methods...)
		return true
	}, nil)
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// reading are the methods that a pass believes.
var reading = []string{"eth_getTransactionCount", "eth_getTransactionReceipt", "eth_getLogs", "eth_getBalance", "eth_estimateGas"}

func believes(methods []string) bool {
	return slices.ContainsFunc(methods, func(m string) bool { return slices.Contains(reading, m) })
}

func TestAnotherClientTakesOver(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	s := newPair(t, c, c, 1, func(cfg *Config) { cfg.InFlight = 2 })
	s.ask("x", 6)
	d, leader := s.duty(), s.begin()
	toA, toB := s.a.asked(), s.b.asked()
	require.NoError(t, d.pass(t.Context(), leader))
	require.True(t, believes(toA()))
	require.False(t, believes(toB()), "one pass believes one client: %v", toB())
	require.Contains(t, toB(), "eth_sendRawTransaction", "transactions go to all")
	require.InDelta(t, 1, testutil.ToFloat64(d.metrics.used.WithLabelValues(host(s.a))), 0)

	s.a.hook(noForward, nil)
	s.settle(d, leader)
	s.requirePaid(6)
	require.Empty(t, s.status())
	require.Contains(t, s.log.String(), "execution client passed over")
	require.Contains(t, s.log.String(), host(s.a))
	require.NotContains(t, s.log.String(), "access-key")
	require.InDelta(t, 0, testutil.ToFloat64(d.metrics.clients.WithLabelValues(host(s.a))), 0)
	require.InDelta(t, 1, testutil.ToFloat64(d.metrics.used.WithLabelValues(host(s.b))), 0)

	// The first is well again: the other goes on being used.
	toA = s.a.asked()
	s.clock = s.clock.Add(longestPause)
	s.ask("y", 1)
	s.settle(d, leader)
	s.requirePaid(7)
	require.False(t, believes(toA()), "a client that is well is kept")
	require.Contains(t, s.log.String(), "is well again")
	require.InDelta(t, 1, testutil.ToFloat64(d.metrics.clients.WithLabelValues(host(s.a))), 0)

	s.a.hook(noForward, nil)
	s.b.hook(noForward, nil)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(ChainUnreachable), s.status())
	require.Contains(t, s.detail(), host(s.a))
	require.Contains(t, s.detail(), host(s.b))
	require.NotContains(t, s.detail(), "access-key")
	s.a.hook(nil, nil)
	s.ask("z", 1)
	s.settle(d, leader)
	s.requirePaid(8)
}

// The client of a pass dies at any of its requests. The other one finishes.
func TestClientDiesAtAnyStep(t *testing.T) { //nolint:tparallel // the steps share a chain
	t.Parallel()
	c := newChain(t)
	scene := func(t *testing.T, number int) *pair {
		t.Helper()
		s := newPair(t, c, c, number, func(cfg *Config) { cfg.InFlight = crashFlight })
		s.ask("x", crashKeys)
		return s
	}
	undisturbed := scene(t, richAccounts-1)
	x := newTrap(0, nil)
	undisturbed.a.hook(func([]string) bool { return x.step() }, nil)
	x.run(t.Context(), undisturbed.scene, undisturbed.duty(), undisturbed.begin())
	undisturbed.requirePaid(crashKeys)
	require.Greater(t, x.steps, 20)
	for step := 1; step <= x.steps; step += stride {
		t.Run(strconv.Itoa(step), func(t *testing.T) {
			s := scene(t, step)
			var dead bool
			at := newTrap(step, func() bool { dead = true; return false })
			s.a.hook(func([]string) bool { return at.step() && !dead }, nil)
			s.settle(s.duty(), s.begin())
			s.settle(s.duty(), s.begin())
			require.True(t, at.isSprung())
			s.requirePaid(crashKeys)
			require.Empty(t, s.status())
		})
	}
}

// instead answers calls of one method with another result.
func instead(method, result string) func(rpcCall, json.RawMessage) json.RawMessage {
	return func(call rpcCall, was json.RawMessage) json.RawMessage {
		if call.Method == method {
			return json.RawMessage(result)
		}
		return was
	}
}

func TestClientsThatArePassedOver(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	for range 10 {
		c.backend.Commit()
	}
	account := stranger
	for name, test := range map[string]struct {
		because string
		make    func(t *testing.T, f *front)
	}{
		"dead": {"EOF", func(_ *testing.T, f *front) { f.hook(noForward, nil) }},
		"slow": {"deadline", func(t *testing.T, f *front) {
			t.Helper()
			f.hook(func([]string) bool { <-t.Context().Done(); return false }, nil)
		}},
		"error": {"answers eth_chainId with", func(_ *testing.T, f *front) { f.refusing(func(c rpcCall) bool { return c.Method == "eth_chainId" }) }},
		"lags": {"10 blocks behind, at block 0", func(_ *testing.T, f *front) {
			f.changing(func(call rpcCall, was json.RawMessage) json.RawMessage {
				if call.Method == "eth_getBlockByNumber" && string(call.Params[0]) == `"latest"` {
					was = asFirst(was)
				}
				if call.Method == "eth_getCode" {
					return json.RawMessage(`"0x"`) // the contract is younger than its head
				}
				return was
			})
		}},
		"syncs": {"still syncing, at block 5 of 100", func(_ *testing.T, f *front) {
			f.changing(instead("eth_syncing", `{"currentBlock":"0x5","highestBlock":"0x64"}`))
		}},
		"lacks logs": {"does not tell the DepositEvents", func(_ *testing.T, f *front) {
			f.refusing(func(c rpcCall) bool { return c.Method == "eth_getLogs" })
		}},
	} {
		account++
		number := account
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newPair(t, c, c, number)
			test.make(t, s.a)
			s.ask("x", 1)
			d, leader := s.duty(), s.begin()
			for range 40 { // the range of logs is halved before it is given up
				require.NoError(t, d.pass(t.Context(), leader))
				if s.states()[fsmpb.DepositState_DEPOSIT_STATE_SENT] == 1 {
					break
				}
			}
			require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SENT], s.detail())
			require.Contains(t, s.log.String(), test.because)
			require.InDelta(t, 1, testutil.ToFloat64(d.metrics.used.WithLabelValues(host(s.b))), 0)
		})
	}
}

// asFirst makes a block the first one by its number.
func asFirst(b json.RawMessage) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(b, &fields) != nil || fields["number"] == nil {
		return b
	}
	fields["number"] = json.RawMessage(`"0x0"`)
	changed, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return changed
}

// One that is alone and syncs is not believed either.
func TestSoleClientSyncs(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	s.front.changing(instead("eth_syncing", `{"currentBlock":"0x5","highestBlock":"0x64"}`))
	s.ask("x", 1)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(ChainUnreachable), s.status())
	require.Contains(t, s.detail(), "still syncing")
	s.front.changing(nil)
	s.settle(d, leader)
	s.requirePaid(1)
}

func TestClientsDisagree(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	other := newChain(t, func(alloc types.GenesisAlloc) { alloc[common.Address{9}] = types.Account{Balance: big.NewInt(1)} })
	account := stranger
	for name, test := range map[string]struct {
		second *chain
		about  string
		change func(rpcCall, json.RawMessage) json.RawMessage
	}{
		"chain ID":      {c, "the chain ID", instead("eth_chainId", `"0x1"`)},
		"genesis":       {other, "the first block", nil},
		"contract code": {c, "the deposit contract's code", instead("eth_getCode", `"0x6001"`)},
	} {
		account++
		number := account
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newPair(t, c, test.second, number)
			s.b.changing(test.change)
			s.ask("x", 1)
			d, leader := s.duty(), s.begin()
			require.NoError(t, d.pass(t.Context(), leader))
			requireDisagree := func() {
				t.Helper()
				require.Equal(t, string(ClientsDisagree), s.status(), s.detail())
				require.Contains(t, s.detail(), test.about)
				require.Contains(t, s.detail(), host(s.a))
				require.Contains(t, s.detail(), host(s.b))
				require.NotContains(t, s.detail(), "access-key")
				require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_PLANNED])
			}
			requireDisagree()

			s.b.hook(noForward, nil)
			require.NoError(t, d.pass(t.Context(), leader))
			requireDisagree() // that it went silent settles nothing
			if test.second != c {
				return
			}
			s.b.hook(nil, nil)
			s.b.changing(nil)
			s.clock = s.clock.Add(codeAgain)
			require.NoError(t, d.pass(t.Context(), leader))
			require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SENT], s.detail())
		})
	}
}

// Two clients from one genesis whose histories part: nothing is final by the word
// of one of them.
func TestClientsDisagreeOnFinalBlocks(t *testing.T) {
	t.Parallel()
	first, second := newChain(t), newChain(t)
	require.Equal(t, first.head().Hash(), second.head().Hash())
	s := newPair(t, first, second, 1, func(cfg *Config) { cfg.Confirmations = 3 })
	s.ask("x", 1)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SENT], s.detail())
	second.pay(accountKey(stranger), common.Address{1}, big.NewInt(7), nil)
	for range 3 {
		first.backend.Commit()
		second.backend.Commit()
		require.NoError(t, d.pass(t.Context(), leader))
	}
	require.Equal(t, string(ClientsDisagree), s.status(), s.detail())
	require.Contains(t, s.detail(), "block 1, which is final")
	require.Contains(t, s.detail(), host(s.b))
	require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_MINED], "final by the word of one of two")

	s.b.hook(noForward, nil) // and then it is taken out
	s.clock = s.clock.Add(detailPause)
	s.settle(d, leader)
	s.requirePaid(1)
}

// By one client the nonce was used by somebody else and the deposit is nowhere;
// the other one has its receipt.
func TestLossIsDenied(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	s := newPair(t, c, c, 1)
	s.ask("x", 1)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	s.backend.Commit()
	s.a.changing(func(call rpcCall, was json.RawMessage) json.RawMessage {
		switch call.Method {
		case "eth_getTransactionReceipt", "eth_getTransactionByHash":
			return json.RawMessage("null")
		case "eth_getLogs":
			return json.RawMessage("[]")
		case "eth_call":
			return json.RawMessage(fmt.Sprintf(`"0x%064x%064x%064x"`, 32, 8, 0)) // no deposits
		}
		return was
	})
	for range 3 {
		s.backend.Commit()
		require.NoError(t, d.pass(t.Context(), leader))
	}
	require.Empty(t, s.only().GetLosses(), "lost by the word of one of two")
	require.Nil(t, s.machine.View().Account(simulatedChainID, s.address().Bytes()).GetStop())
	s.clock = s.clock.Add(detailPause)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(ClientsDisagree), s.status(), s.detail())

	s.a.changing(nil)
	s.settle(d, leader)
	s.requirePaid(1)
}
