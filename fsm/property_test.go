package fsm

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// TestAnySequence feeds random commands to several machines. One takes them
// singly and is held against the ledger after each; the others take them in
// batches, and are replaced now and then by the snapshot of another.
func TestAnySequence(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { anySequence(t) })
}

func anySequence(t *rapid.T) *sequence {
	s := &sequence{t: t, single: New(), many: []*Machine{New(), New(), New()}, ledger: newLedger(), term: 1}
	s.world = look(s.single.View())
	s.run(begin(t)...)
	s.stock()
	for range rapid.IntRange(1, 30).Draw(t, "entries") {
		var batch []*fsmpb.Command
		if oneIn(t, 12, "newTerm") {
			s.term++
			if !oneIn(t, 4, "silent") {
				batch = append(batch, command(0, 1, &fsmpb.BeginSession{NodeId: "n2", NewClusterId: "other"}))
			}
		}
		for range rapid.IntRange(1, 5).Draw(t, "commands") {
			session := s.term
			if oneIn(t, 15, "stale") {
				session += rapid.SampledFrom([]uint64{1, ^uint64(0)}).Draw(t, "session")
			}
			batch = append(batch, command(session, rapid.Int64Range(0, 9).Draw(t, "wall"), drawBody(t, s.world)))
		}
		s.run(batch...)
		s.swapMachines()
	}
	return s
}

// begin are the commands without which little can happen.
func begin(t *rapid.T) []*fsmpb.Command {
	list := []*fsmpb.Command{command(1, 1, &fsmpb.BeginSession{NodeId: "n1", NewClusterId: "c"})}
	if !oneIn(t, 20, "bare") {
		list = append(list,
			command(1, 1, &fsmpb.InstallKeyring{Sealed: []byte("k")}),
			command(1, 1, &fsmpb.InstallSeed{Sealed: under(1, "s"), Fingerprint: "f"}),
			command(1, 1, &fsmpb.OpenAccount{Account: testAccount(1)}),
			command(1, 1, &fsmpb.GenerateKeys{Pubkeys: pubkeys(0, 4)}),
		)
	}
	return list
}

// stock makes a start in the middle: some keys are free, some on their way.
func (s *sequence) stock() {
	for range rapid.IntRange(0, 4).Draw(s.t, "stock") {
		if oneIn(s.t, 3, "mess") {
			s.run(command(1, 1, drawObserve(s.t, s.world)))
		}
		s.run(command(1, 1, &fsmpb.Allocate{Pod: testPod("p", "1"), Keys: uint32(len(s.world.keys))}))
		s.run(command(1, 1, drawSign(s.t, s.world)))
		for range 3 {
			s.run(command(1, 1, &fsmpb.ObserveDeposits{Observations: onwards(s.world)}))
		}
		s.run(command(1, 1, &fsmpb.GenerateKeys{
			FirstIndex: s.world.meta.GetNextIndex(), Pubkeys: pubkeys(s.world.meta.GetNextIndex(), 1),
		}))
		s.run(command(1, 1, drawRelease(s.t, s.world)))
	}
}

type sequence struct {
	t      *rapid.T
	single *Machine
	many   []*Machine
	ledger *ledger
	world  *world // the single machine's
	index  uint64 // of the batches
	steps  uint64 // of the single commands
	term   uint64
	last   Result // of the newest command
	taken  []taken
}

func (s *sequence) run(batch ...*fsmpb.Command) {
	want := make([]Result, len(batch))
	for i, c := range batch {
		want[i] = s.step(c)
	}
	s.index++
	data := entry(s.t, batch...)
	var hash [32]byte
	for _, m := range s.many {
		got, err := m.Apply(s.index, s.term, data)
		require.NoError(s.t, err)
		require.Len(s.t, got, len(want))
		for i := range got {
			sameResult(s.t, want[i], got[i])
		}
		if m != s.many[0] {
			require.Equal(s.t, hash, m.View().Hash(), "machines differ")
			continue
		}
		hash = m.View().Hash()
	}
	s.taken = append(s.taken, taken{Term: s.term, Entry: data, Hash: hash})
	require.Equal(s.t, s.world.digest, digest(s.many[0].View()), "a batch is more than its commands")
}

// step applies one command alone and looks at everything.
func (s *sequence) step(c *fsmpb.Command) Result {
	old, before := s.single.View(), s.world
	s.steps++
	results, err := s.single.Apply(s.steps, s.term, entry(s.t, c))
	require.NoError(s.t, err)
	require.NoError(s.t, s.single.View().Check(), "after %v", c)
	if s.steps%4 == 0 {
		require.Equal(s.t, before.digest, digest(old), "a view changed after it was taken")
	}
	s.world = look(s.single.View())
	s.ledger.check(s.t, before, c, results[0], s.world)
	requireOnRecord(s.t, before, c, results[0], s.world, s.single.View())
	s.last = results[0]
	return results[0]
}

// swapMachines restores the snapshot of one machine into a fresh one or into
// another that has gone astray.
func (s *sequence) swapMachines() {
	if !oneIn(s.t, 4, "restore") {
		return
	}
	from := rapid.IntRange(0, len(s.many)-1).Draw(s.t, "from")
	to := rapid.IntRange(0, len(s.many)-1).Draw(s.t, "to")
	snap := snapshot(s.t, s.many[from].View())
	m := s.many[to]
	if rapid.Bool().Draw(s.t, "fresh") {
		m = New()
	} else {
		stray := command(s.term, 1, &fsmpb.Allocate{Pod: testPod("stray", "1"), Keys: 9})
		_, err := m.Apply(s.index+1, s.term, entry(s.t, stray))
		require.NoError(s.t, err)
	}
	require.NoError(s.t, m.Restore(bytes.NewReader(snap)))
	require.Equal(s.t, snap, snapshot(s.t, m.View()), "a restored machine writes another snapshot")
	s.many[to] = m
}

func oneIn(t *rapid.T, n int, label string) bool {
	return rapid.IntRange(1, n).Draw(t, label) == n
}

// drawBody draws a command of any kind, mostly one that fits the state.
func drawBody(t *rapid.T, w *world) proto.Message {
	draws := []func(*rapid.T, *world) proto.Message{
		drawAllocate, drawAllocate, drawAllocate, drawRelease, drawRelease,
		drawSign, drawSign, drawObserve, drawObserve, drawObserve, drawGenerate, drawTick, drawRare,
		drawReplace, drawAccount,
		drawSpares,
		drawRetire, drawValidators,
		drawImport, drawStopped, drawStopped, drawAdopt, drawSeeFinal,
		drawKeyring, drawReseal,
		drawToken,
		drawPods, drawPods, drawLease,
	}
	return rapid.SampledFrom(draws).Draw(t, "kind")(t, w)
}

func drawPod(t *rapid.T) *fsmpb.Pod {
	return testPod(rapid.SampledFrom([]string{"p", "q", "r"}).Draw(t, "pod"), rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "uid"))
}

func drawAllocate(t *rapid.T, _ *world) proto.Message {
	c := &fsmpb.Allocate{
		Pod: drawPod(t), Keys: rapid.SampledFrom([]uint32{1, 2, 2, 3, 4, 5}).Draw(t, "keys"), Disclose: rapid.Bool().Draw(t, "disclose"),
		PoolOnly: oneIn(t, 4, "poolOnly"), SlashingProtection: rapid.Bool().Draw(t, "slashingProtection"),
	}
	if oneIn(t, 20, "odd") {
		c.Keys = rapid.SampledFrom([]uint32{0, MaxKeysPerPod + 1, 1 << 31}).Draw(t, "keys")
	}
	return c
}

func drawRelease(t *rapid.T, w *world) proto.Message {
	pod := rapid.SampledFrom([]string{"p", "q", "r"}).Draw(t, "pod")
	fence := w.allocations["ns/"+pod].GetFence()
	c := &fsmpb.Release{
		Namespace: "ns", Pod: pod, Fence: fence,
		WaitMs: rapid.SampledFrom([]uint64{0, 0, 100, 60_000, 1 << 63}).Draw(t, "wait"),
	}
	if oneIn(t, 4, "otherFence") {
		c.Fence = rapid.SampledFrom([]uint64{0, fence - 1, fence + 1}).Draw(t, "fence")
	}
	if oneIn(t, 2, "names the UID") {
		c.PodUid = rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "uid")
	}
	if kind := rapid.SampledFrom([]int32{1, 2, 2, 3, 4, 5, -1, -1, -1, 0, 6}).Draw(t, "proof"); kind >= 0 {
		c.Proof = &fsmpb.Proof{Kind: fsmpb.Proof_Kind(kind), By: "b"}
	}
	return c
}

func drawGenerate(t *rapid.T, w *world) proto.Message {
	next := w.meta.GetNextIndex()
	c := &fsmpb.GenerateKeys{FirstIndex: next, Pubkeys: pubkeys(next, rapid.Uint64Range(0, 4).Draw(t, "n"))}
	switch {
	case oneIn(t, 12, "stale"):
		c.FirstIndex++
	case oneIn(t, 12, "known"):
		c.Pubkeys = append(c.Pubkeys, pubkey(0))
	case oneIn(t, 12, "twice"):
		c.Pubkeys = append(c.Pubkeys, c.GetPubkeys()...)
	case oneIn(t, 12, "short"):
		c.Pubkeys = append(c.Pubkeys, []byte{1})
	}
	return c
}

func drawTick(t *rapid.T, _ *world) proto.Message {
	return &fsmpb.Tick{ElapsedMs: rapid.SampledFrom([]uint64{0, 50, 99, 100, 60_000, 1 << 62}).Draw(t, "ms")}
}

// deposits lists what can be drawn from, in an order that repeats.
func (w *world) depositKeys(states ...fsmpb.DepositState) [][]byte {
	var list [][]byte
	for _, k := range slices.Sorted(maps.Keys(w.deposits)) {
		if len(states) == 0 || slices.Contains(states, w.deposits[k].GetState()) {
			list = append(list, []byte(k))
		}
	}
	return list
}

func drawSign(t *rapid.T, w *world) proto.Message {
	a := testAccount(rapid.SampledFrom([]uint64{1, 1, 1, 2}).Draw(t, "chain"))
	c := &fsmpb.SignDeposits{ChainId: a.GetChainId(), Account: a.GetAddress()}
	keys := w.depositKeys(fsmpb.DepositState_DEPOSIT_STATE_PLANNED)
	if oneIn(t, 10, "unplanned") {
		keys = append(w.depositKeys(), pubkey(0), pubkey(1<<20), nil)
	}
	next := uint64(5)
	if known := w.accounts[string(accountKey(a.GetChainId(), a.GetAddress()))]; known != nil {
		next = known.GetNextNonce()
	}
	if oneIn(t, 10, "staleNonce") {
		next += rapid.SampledFrom([]uint64{1, ^uint64(0)}).Draw(t, "nonce")
	}
	for i := range rapid.IntRange(0, min(len(keys), 5)).Draw(t, "n") {
		s := signed(next+uint64(i), rapid.SampledFrom(keys).Draw(t, "key"))
		if oneIn(t, 30, "empty") {
			s.Attempt.Raw = nil
		}
		c.Deposits = append(c.Deposits, s)
	}
	return c
}

func drawObserve(t *rapid.T, w *world) proto.Message {
	c := &fsmpb.ObserveDeposits{}
	keys := append(w.depositKeys(), pubkey(1<<20), nil)
	switch rapid.SampledFrom([]string{"onwards", "onwards", "any", "any", "back", "back", "foreign"}).Draw(t, "observations") {
	case "onwards":
		c.Observations = onwards(w)
		return c
	case "back":
		c.Observations = back(w)
		return c
	case "foreign":
		for _, pubkey := range w.depositKeys(fsmpb.DepositState_DEPOSIT_STATE_PLANNED) {
			if oneIn(t, 2, "paid") {
				c.Observations = append(c.Observations, &fsmpb.Observation{Pubkey: pubkey, Kind: foreign, Reason: "r"})
			}
		}
		return c
	}
	for range rapid.IntRange(0, 6).Draw(t, "n") {
		pubkey := rapid.SampledFrom(keys).Draw(t, "key")
		d := w.deposits[string(pubkey)]
		o := onward(pubkey, d)
		if oneIn(t, 3, "other") {
			o.Kind = rapid.SampledFrom([]fsmpb.Observation_Kind{unmined, lost, unmined, lost, sent, mined, final, foreign, foreign, 0, 7}).Draw(t, "observation")
		}
		o.ForeignTransaction = oneIn(t, 4, "foreign")
		if oneIn(t, 6, "otherBlock") {
			o.BlockHash = rapid.SampledFrom([][]byte{hash32(1), hash32(2), nil}).Draw(t, "block")
		}
		if oneIn(t, 10, "otherHash") {
			o.TxHash = rapid.SampledFrom([][]byte{nil, hash32(9)}).Draw(t, "tx")
		}
		c.Observations = append(c.Observations, o)
	}
	return c
}

// onward is what is seen next about a deposit if all goes well.
func onward(pubkey []byte, d *fsmpb.Deposit) *fsmpb.Observation {
	next := map[fsmpb.DepositState]fsmpb.Observation_Kind{
		fsmpb.DepositState_DEPOSIT_STATE_SIGNED: fsmpb.Observation_KIND_SENT,
		fsmpb.DepositState_DEPOSIT_STATE_SENT:   fsmpb.Observation_KIND_MINED,
		fsmpb.DepositState_DEPOSIT_STATE_MINED:  fsmpb.Observation_KIND_FINAL,
	}[d.GetState()]
	o := &fsmpb.Observation{Pubkey: pubkey, Kind: next, BlockNumber: 3, BlockHash: d.GetBlockHash(), Reason: "r"}
	if len(d.GetAttempts()) > 0 {
		o.TxHash = d.GetAttempts()[len(d.GetAttempts())-1].GetTxHash()
	}
	if len(o.GetBlockHash()) == 0 {
		o.BlockHash = hash32(1)
	}
	return o
}

func onwards(w *world) []*fsmpb.Observation {
	var list []*fsmpb.Observation
	for _, pubkey := range w.depositKeys() {
		list = append(list, onward(pubkey, w.deposits[string(pubkey)]))
	}
	return list
}

// back is what is seen when things go wrong: each second deposit that is mined
// is undone, each second one that is on its way is lost.
func back(w *world) []*fsmpb.Observation {
	list := onwards(w)
	for i, o := range list {
		switch {
		case i%2 == 0 && o.GetKind() == final:
			o.Kind = unmined
		case i%2 == 0 && o.GetKind() != 0:
			o.Kind, o.ForeignTransaction = lost, i%4 == 0
		}
	}
	return list
}

// drawReplace draws a more expensive transaction for a deposit on its way.
func drawReplace(t *rapid.T, w *world) proto.Message {
	keys := w.depositKeys(fsmpb.DepositState_DEPOSIT_STATE_SIGNED, fsmpb.DepositState_DEPOSIT_STATE_SENT)
	if len(keys) == 0 || oneIn(t, 10, "any") {
		keys = append(w.depositKeys(), pubkey(1<<20), nil)
	}
	key := rapid.SampledFrom(keys).Draw(t, "key")
	attempts := w.deposits[string(key)].GetAttempts()
	if len(attempts) == 0 {
		return &fsmpb.ReplaceDeposit{Pubkey: key, Attempt: signed(5, key).GetAttempt()}
	}
	a := dearer(attempts[len(attempts)-1])
	switch {
	case oneIn(t, 10, "otherNonce"):
		a.Nonce++
	case oneIn(t, 10, "sameFee"):
		a.FeeCapWei--
	case oneIn(t, 10, "sameHash"):
		a.TxHash = attempts[0].GetTxHash()
	}
	return &fsmpb.ReplaceDeposit{Pubkey: key, Attempt: a}
}

// drawAccount draws what is done about somebody else's use of an account.
func drawAccount(t *rapid.T, w *world) proto.Message {
	a := testAccount(rapid.SampledFrom([]uint64{1, 1, 1, 2}).Draw(t, "chain"))
	now := w.accounts[string(accountKey(a.GetChainId(), a.GetAddress()))]
	more := rapid.Uint64Range(0, 3).Draw(t, "more")
	return rapid.SampledFrom([]proto.Message{
		&fsmpb.StopAccount{ChainId: a.GetChainId(), Account: a.GetAddress(), Stop: &fsmpb.Stop{Reason: "r", Nonce: now.GetNextNonce() + more}},
		&fsmpb.StopAccount{ChainId: a.GetChainId(), Account: a.GetAddress(), Stop: &fsmpb.Stop{Nonce: 1 << 40}},
		&fsmpb.ResumeDeposits{ChainId: a.GetChainId(), Account: a.GetAddress(), Nonce: now.GetStop().GetNonce()},
		&fsmpb.ResumeDeposits{ChainId: a.GetChainId(), Account: a.GetAddress(), Nonce: now.GetNextNonce() + more},
		&fsmpb.AdvanceNonce{ChainId: a.GetChainId(), Account: a.GetAddress(), From: now.GetNextNonce(), To: now.GetNextNonce() + more},
		&fsmpb.AdvanceNonce{ChainId: a.GetChainId(), Account: a.GetAddress(), From: now.GetNextNonce() - 1, To: now.GetNextNonce() + more},
	}).Draw(t, "account")
}

func drawRare(t *rapid.T, _ *world) proto.Message {
	text := rapid.SampledFrom([]string{"", "a", "b"})
	account := testAccount(rapid.SampledFrom([]uint64{0, 1, 2}).Draw(t, "chain"))
	if oneIn(t, 3, "foreign") {
		account.GenesisHash = hash32(99)
	}
	return rapid.SampledFrom([]proto.Message{
		&fsmpb.SetMember{Member: &fsmpb.Member{NodeId: text.Draw(t, "node"), RaftAddress: text.Draw(t, "raft")}},
		&fsmpb.RemoveMember{NodeId: text.Draw(t, "gone")},
		&fsmpb.InstallKeyring{Sealed: []byte(text.Draw(t, "keyring"))},
		&fsmpb.InstallSeed{Sealed: under(1, "x"), Fingerprint: text.Draw(t, "seed")},
		&fsmpb.OpenAccount{Account: account},
		&fsmpb.SetDepositStatus{Code: text.Draw(t, "code"), Detail: text.Draw(t, "detail")},
		&fsmpb.BeginSession{NodeId: "n3"},
	}).Draw(t, "rare")
}
