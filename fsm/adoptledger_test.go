package fsm

import (
	"bytes"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// searched is how far one contract was searched.
type searched struct {
	next, found uint64
	start       uint64 // from where on events were known in all parts
	done        bool
}

func searchName(s *fsmpb.SeedSearch) string {
	return string(accountKey(s.GetChainId(), s.GetContract())) + string(s.GetGenesisHash())
}

// adopt follows a part of the search. What was signed for, held or imported once
// is not adopted.
func (l *ledger) adopt(t rapid.TB, c *fsmpb.AdoptKeys, before *world) {
	t.Helper()
	name := searchName(c.GetSearch())
	s := l.searches[name]
	if start := c.GetSearch().GetStartBlock(); s == nil || l.latest != name || start < s.start {
		s = &searched{start: start} // another contract was searched meanwhile, or less was known
		l.searches[name] = s
	} else {
		s.start = max(s.start, start)
	}
	require.False(t, s.done, "searched after the end")
	require.Equal(t, s.next, c.GetFirstIndex(), "a part was left out")
	for _, f := range c.GetFound() {
		require.GreaterOrEqual(t, f.GetIndex(), s.next)
		s.found = f.GetIndex() + 1
		pubkey := string(f.GetPubkey())
		k := before.keys[pubkey]
		unused := k == nil || k.GetState() == fsmpb.KeyState_KEY_STATE_GENERATED || k.GetState() == fsmpb.KeyState_KEY_STATE_DEPOSITING
		if unused && l.deposits[pubkey] == nil {
			l.imports[pubkey] = &imported{adopted: true}
		}
	}
	s.next, s.done = c.GetSearch().GetNextIndex(), c.GetSearch().GetDone()
	require.LessOrEqual(t, s.found, s.next)
	l.next, l.latest = max(l.next, s.found), name
}

func (l *ledger) seeFinal(b *fsmpb.FinalBlock) {
	if l.final.GetChainId() != b.GetChainId() || !bytes.Equal(l.final.GetGenesisHash(), b.GetGenesisHash()) || b.GetNumber() > l.final.GetNumber() {
		l.final = b
	}
}

// checkIndexes: an index is used for one key at most, and never once the search
// has found something behind it.
func (l *ledger) checkIndexes(t rapid.TB, after *world) {
	t.Helper()
	require.Equal(t, l.next, after.meta.GetNextIndex(), "an index was left out or used twice")
	used := map[uint64]bool{}
	for pubkey, k := range after.keys {
		if !k.GetImported() {
			require.Less(t, k.GetIndex(), l.next)
			require.False(t, used[k.GetIndex()], "two keys of one index, %x", pubkey)
			used[k.GetIndex()] = true
		}
	}
	require.Equal(t, l.final.GetHash(), after.meta.GetFinalBlock().GetHash())
	if now := after.meta.GetSeedSearch(); now != nil {
		s := l.searches[searchName(now)]
		require.Equal(t, searched{next: now.GetNextIndex(), found: now.GetFound(), start: now.GetStartBlock(), done: now.GetDone()}, *s)
	}
}

// drawAdopt draws a part of a search that finds some keys.
func drawAdopt(t *rapid.T, w *world) proto.Message {
	old := w.meta.GetSeedSearch()
	s := testSearch(rapid.SampledFrom([]uint64{1, 1, 1, 1, 2}).Draw(t, "chain"))
	s.Done = oneIn(t, 6, "done")
	s.StartBlock = rapid.SampledFrom([]uint64{5, 5, 5, 5, 0, 9}).Draw(t, "start")
	c := &fsmpb.AdoptKeys{Search: s}
	if SameSearch(s, old) {
		c.FirstIndex = old.GetNextIndex()
	}
	if oneIn(t, 12, "otherFirst") {
		c.FirstIndex += rapid.SampledFrom([]uint64{1, ^uint64(0)}).Draw(t, "first")
	}
	s.NextIndex = c.GetFirstIndex() + rapid.Uint64Range(0, 4).Draw(t, "n")
	for index := c.GetFirstIndex(); index < s.GetNextIndex() && index < 1<<20; index++ {
		if oneIn(t, 3, "found") {
			c.Found = append(c.Found, foundKey(index))
		}
	}
	if len(c.GetFound()) == 0 {
		return c
	}
	switch f := c.GetFound()[0]; {
	case oneIn(t, 20, "otherIndex"):
		f.Index++
	case oneIn(t, 20, "otherKey"):
		f.Pubkey = pubkey(f.GetIndex() + 1)
	case oneIn(t, 20, "noStake"):
		f.Stake = nil
	case oneIn(t, 20, "twice"):
		c.Found = append(c.Found, f)
	}
	return c
}

func drawSeeFinal(t *rapid.T, _ *world) proto.Message {
	b := testFinal(rapid.SampledFrom([]uint64{1, 1, 2}).Draw(t, "chain"), rapid.Uint64Range(0, 20).Draw(t, "number"))
	switch {
	case oneIn(t, 10, "noHash"):
		b.Hash = nil
	case oneIn(t, 10, "otherGenesis"):
		b.GenesisHash = hash32(99)
	}
	return &fsmpb.SeeFinal{Block: b}
}
