package ethereum

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// history has somebody else make so many deposits, each in a block of its own.
func (c *chain) history(deposits int) {
	c.t.Helper()
	for i := range deposits {
		seed, err := validator.SeedFromBytes(slices.Repeat([]byte{0xee}, 64))
		require.NoError(c.t, err)
		key, err := seed.SigningKey(uint64(i))
		require.NoError(c.t, err)
		data, err := validator.NewDepositData(key, validator.AddressCredentials([20]byte{1}), validator.MinDepositGwei, c.network().ForkVersion)
		require.NoError(c.t, err)
		input, wei, err := depositCall(data)
		require.NoError(c.t, err)
		c.pay(accountKey(stranger), contractAddress, wei, input)
		c.backend.Commit()
	}
}

// forget has the client keep those logs only that keep says.
func (f *front) forget(keep func(*types.Log) bool) {
	f.changing(func(call rpcCall, result json.RawMessage) json.RawMessage {
		if call.Method != "eth_getLogs" {
			return result
		}
		var logs []*types.Log
		if err := json.Unmarshal(result, &logs); err != nil {
			panic(err)
		}
		kept, err := json.Marshal(slices.DeleteFunc(logs, func(l *types.Log) bool { return !keep(l) }))
		if err != nil {
			panic(err)
		}
		return kept
	})
}

// A client that does not show all events pays for nothing, however it hides them.
func TestEventsAreMissing(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	c.history(4) // in the blocks 1 to 4
	number := 0
	for name, test := range map[string]struct {
		keep func(*types.Log) bool
		step uint64
		says string
	}{
		"all":              {keep: func(*types.Log) bool { return false }, says: "no DepositEvent with index 0 from block 0 on, and the contract counts 4 deposits in block 4"},
		"the first":        {keep: func(l *types.Log) bool { return l.BlockNumber > 1 }, says: "index 0 from block 0 on, and the one after it, in block 2, has index 1"},
		"one between":      {keep: func(l *types.Log) bool { return l.BlockNumber != 2 }, says: "index 1"},
		"the last":         {keep: func(l *types.Log) bool { return l.BlockNumber < 4 }, says: "index 3"},
		"between ranges":   {keep: func(l *types.Log) bool { return l.BlockNumber != 2 }, step: 1, says: "index 1"},
		"at a range's end": {keep: func(l *types.Log) bool { return l.BlockNumber != 3 }, step: 2, says: "index 2"},
	} {
		number++
		number := number
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := time.Unix(0, 0)
			s := newScene(t, c, number, func(cfg *Config) { cfg.Now = func() time.Time { return now } })
			f := newFront(t, s.socket)
			s.cfg.RPC = []string{f.URL}
			f.forget(test.keep)
			s.ask("a", 1)
			d, leader := s.duty(), s.begin()
			if test.step > 0 {
				d.events.step = test.step
			}
			for range 3 {
				require.NoError(t, d.pass(t.Context(), leader))
				require.Equal(t, string(EventsIncomplete), s.status(), s.detail())
			}
			require.Contains(t, s.detail(), test.says)
			require.Contains(t, s.detail(), "keeps all logs")
			require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_PLANNED, s.only().GetState())

			f.changing(nil) // the client has filled in its blocks
			now = now.Add(readAgainAfter)
			for range 3 {
				require.NoError(t, d.pass(t.Context(), leader))
			}
			require.Empty(t, s.status(), s.detail())
		})
	}
}

// A client that refuses old logs is named, and not asked block by block for ever.
func TestEventsAreRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	s.history(2)
	s.before += 2
	s.front.refusing(func(call rpcCall) bool { return call.Method == "eth_getLogs" })
	s.ask("a", 1)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(EventsIncomplete), s.status())
	require.Contains(t, s.detail(), "use one that keeps all logs")
	s.front.refusing(nil)
	s.settle(d, leader)
	s.requirePaid(1)
}

// asksAt tells whether the call is a call of the contract at this block.
func asksAt(call rpcCall, block string) bool {
	return call.Method == "eth_call" && len(call.Params) == 2 && string(call.Params[1]) == `"`+block+`"`
}

func TestStartBlock(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	c.history(3)
	c.backend.Commit()
	number := 0
	for name, test := range map[string]struct {
		start  uint64
		word   bool   // that the seed was not used before
		refuse string // the block whose state the client does not know
		keep   func(*types.Log) bool
		code   Code
		says   string
	}{
		"before the first deposit":              {start: 1},
		"before the first, and states are gone": {start: 1, refuse: "0x0"},
		"between deposits":                      {start: 3, code: EarlierUnknown, says: "took 2 deposits before --deposit-start-block 3"},
		"between deposits, and that is known":   {start: 3, word: true},
		"between, and states are gone":          {start: 3, word: true, refuse: "0x2", code: EventsIncomplete, says: "can not tell how many deposits there were before --deposit-start-block 3"},
		"behind all":                            {start: 4, code: EarlierUnknown, says: "took 3 deposits"},
		"behind all, and that is known":         {start: 4, word: true},
		"behind all, and states are gone":       {start: 4, refuse: "0x3", code: EventsIncomplete, says: "can not tell how many"},
		"between, and logs are gone":            {start: 2, keep: func(l *types.Log) bool { return l.BlockNumber > 2 }, code: EventsIncomplete, says: "an earlier --deposit-start-block than 2"},
		"the count of the head is gone":         {start: 0, refuse: "head", code: ChainUnreachable, says: "does not tell how many deposits"},
	} {
		number++
		number := number
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, c, number, func(cfg *Config) { cfg.StartBlock, cfg.UnusedBefore = test.start, test.word })
			f := newFront(t, s.socket)
			s.cfg.RPC = []string{f.URL}
			if test.keep != nil {
				f.forget(test.keep)
			}
			const head = "0x4"
			f.refusing(func(call rpcCall) bool {
				return test.refuse == "head" && asksAt(call, head) || test.refuse != head && asksAt(call, test.refuse)
			})
			s.ask("a", 1)
			require.NoError(t, s.duty().pass(t.Context(), s.begin()))
			require.Equal(t, string(test.code), s.status(), s.detail())
			require.Contains(t, s.detail(), test.says)
			require.Equal(t, test.code != "", s.states()[fsmpb.DepositState_DEPOSIT_STATE_PLANNED] == 1, "planned and not signed")
		})
	}
}

// A deposit is not taken for lost on the word of events that begin after it.
func TestStartBlockBehindADepositUnderWay(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	s.ask("a", 1)
	leader := s.begin()
	require.NoError(t, s.duty().pass(t.Context(), leader))
	for range 3 {
		s.backend.Commit()
	}
	s.front.changing(func(call rpcCall, result json.RawMessage) json.RawMessage {
		if call.Method == "eth_getTransactionReceipt" {
			return json.RawMessage("null") // a client that does not index transactions
		}
		return result
	})
	s.cfg.StartBlock = 3
	d := s.duty()
	for range 3 {
		require.NoError(t, d.pass(t.Context(), leader))
	}
	require.Contains(t, s.detail(), "--deposit-start-block 3 is too late")
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_SENT, s.only().GetState())
	s.front.changing(nil)
	s.settle(s.duty(), leader)
	s.requirePaid(1)
}
