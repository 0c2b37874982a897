package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// testSearch is a search of the chain that testAccount is on.
func testSearch(chain uint64) *fsmpb.SeedSearch {
	return &fsmpb.SeedSearch{ChainId: chain, GenesisHash: hash32(byte(chain)), Contract: make([]byte, addressLength), BlockNumber: 7}
}

func foundKey(index uint64) *fsmpb.FoundKey {
	return &fsmpb.FoundKey{Pubkey: pubkey(index), Index: index, Stake: &fsmpb.Stake{TxHash: hash32(byte(index)), BlockNumber: 3, AmountGwei: 32e9}}
}

func testFinal(chain, number uint64) *fsmpb.FinalBlock {
	return &fsmpb.FinalBlock{ChainId: chain, GenesisHash: hash32(byte(chain)), Number: number, Hash: hash32(byte(number), 3)}
}

// search reports what was found between two indexes.
func search(from, to uint64, done bool, found ...uint64) *fsmpb.AdoptKeys {
	c := &fsmpb.AdoptKeys{FirstIndex: from, Search: testSearch(1)}
	c.Search.NextIndex, c.Search.Done = to, done
	for _, index := range found {
		c.Found = append(c.Found, foundKey(index))
	}
	return c
}

func TestAdoptedKeysRest(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.ask("a", "1", 1)
	r.ok(search(0, 10, false, 1, 4))
	r.ok(search(10, 40, true, 12))
	require.Equal(t, 3, r.keysIn(fsmpb.KeyState_KEY_STATE_RESTING))
	meta := r.View().Meta()
	require.Equal(t, uint64(13), meta.GetNextIndex(), "what lies between is passed over")
	require.Equal(t, uint64(13), meta.GetSeedSearch().GetFound())
	require.True(t, meta.GetSeedSearch().GetDone())
	for _, index := range []uint64{1, 4, 12} {
		k := r.View().Key(pubkey(index))
		require.Equal(t, index, k.GetIndex())
		require.Equal(t, hash32(byte(index)), k.GetAdopted().GetTxHash())
		require.True(t, RestsSinceImport(k))
		require.Nil(t, r.View().Deposit(k.GetPubkey()))
	}
	require.Nil(t, r.View().Key(pubkey(0)))

	r.generate(1)
	require.Equal(t, [][]byte{pubkey(13)}, r.toSign(), "the request gets a key behind them")

	k := r.View().Key(pubkey(4))
	r.refused(Invalid, &fsmpb.ConfirmStopped{Pubkey: k.GetPubkey(), Fence: k.GetFence()})
	r.ok(&fsmpb.ConfirmStopped{Pubkey: k.GetPubkey(), Fence: k.GetFence(), Proof: proof(), WaitMs: 50})
	require.Equal(t, fsmpb.KeyState_KEY_STATE_RESTING, r.View().Key(pubkey(4)).GetState())
	r.ok(&fsmpb.Tick{ElapsedMs: 60})
	require.Equal(t, "1", r.holder(pubkey(4)), "it is paid for, so it takes the place of one that is not")
	require.Empty(t, r.toSign())
}

// A key that was generated before the search, and never signed for, is adopted
// and its request gets another. One that was signed for is ours.
func TestAdoptKeysThatAreKnown(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.ask("a", "1", 3)
	r.generate(4)
	r.sign(pubkey(0))
	r.ok(search(0, 30, true, 0, 1, 3))
	require.Equal(t, fsmpb.KeyState_KEY_STATE_DEPOSITING, r.View().Key(pubkey(0)).GetState())
	require.Nil(t, r.View().Key(pubkey(0)).GetAdopted())
	for _, index := range []uint64{1, 3} {
		require.Equal(t, fsmpb.KeyState_KEY_STATE_RESTING, r.View().Key(pubkey(index)).GetState())
	}
	require.Equal(t, [][]byte{pubkey(2)}, r.toSign())
	require.Equal(t, 1, r.View().Shortfall())
	r.generate(1)
	require.Equal(t, [][]byte{pubkey(2), pubkey(4)}, r.toSign())
}

// An imported key stays imported, and its index is passed over.
func TestAdoptAnImportedKey(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.ok(&fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{{Pubkey: pubkey(2), Sealed: under(1, "x")}}})
	r.ok(search(0, 30, true, 2))
	require.True(t, r.View().Key(pubkey(2)).GetImported())
	require.Nil(t, r.View().Key(pubkey(2)).GetAdopted())
	require.Equal(t, uint64(3), r.View().Meta().GetNextIndex())
}

func TestSearchIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		code   Code
		change func(c *fsmpb.AdoptKeys)
	}{
		"begins anew":          {StaleIndex, func(c *fsmpb.AdoptKeys) { c.FirstIndex = 0 }},
		"leaves indexes out":   {StaleIndex, func(c *fsmpb.AdoptKeys) { c.FirstIndex = 11 }},
		"goes back":            {Invalid, func(c *fsmpb.AdoptKeys) { c.Search.NextIndex = 9 }},
		"goes too far":         {Invalid, func(c *fsmpb.AdoptKeys) { c.Search.NextIndex = 1 << 33 }},
		"no chain":             {Invalid, func(c *fsmpb.AdoptKeys) { c.Search.ChainId = 0 }},
		"no contract":          {Invalid, func(c *fsmpb.AdoptKeys) { c.Search.Contract = nil }},
		"another genesis":      {ForeignChain, func(c *fsmpb.AdoptKeys) { c.Search.GenesisHash = hash32(9) }},
		"a short key":          {Invalid, func(c *fsmpb.AdoptKeys) { c.Found[0].Pubkey = []byte{1} }},
		"an index before":      {Invalid, func(c *fsmpb.AdoptKeys) { c.Found[0].Index = 9 }},
		"an index behind":      {Invalid, func(c *fsmpb.AdoptKeys) { c.Found[1].Index = 20 }},
		"out of order":         {Invalid, func(c *fsmpb.AdoptKeys) { c.Found[1].Index = 12 }},
		"twice":                {Invalid, func(c *fsmpb.AdoptKeys) { c.Found[1].Pubkey = c.Found[0].GetPubkey() }},
		"no transaction":       {Invalid, func(c *fsmpb.AdoptKeys) { c.Found[1].Stake = nil }},
		"another key's index":  {StaleIndex, func(c *fsmpb.AdoptKeys) { c.Found[0].Pubkey = pubkey(1) }},
		"another chain midway": {StaleIndex, func(c *fsmpb.AdoptKeys) { c.Search.ChainId = 2 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReplica(t)
			r.ok(search(0, 10, false, 1))
			c := search(10, 20, false, 12, 14)
			test.change(c)
			r.refused(test.code, c)
		})
	}
}

// A search that begins anew on another contract may find keys that are known, and
// none but those at their indexes.
func TestAnIndexHasOneKey(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.ok(search(0, 10, false, 1, 4))
	again := &fsmpb.AdoptKeys{Search: testSearch(2), Found: []*fsmpb.FoundKey{foundKey(1), foundKey(4)}}
	again.Search.NextIndex = 10
	again.Found[1].Pubkey = pubkey(7)
	r.refused(StaleIndex, again)
	again.Found[1] = foundKey(3)
	r.ok(again)
	require.Equal(t, 3, r.keysIn(fsmpb.KeyState_KEY_STATE_RESTING), "an index that was passed over is found late")
}

func TestSearchEnds(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.ok(search(0, 10, false, 1))
	r.ok(search(10, 30, true))
	r.refused(StaleIndex, search(30, 40, true))
	r.refused(StaleIndex, search(0, 40, true))

	other := search(0, 40, true, 3) // another chain is searched from the start
	other.Search.ChainId = 2
	r.ok(other)
	require.Equal(t, uint64(4), r.View().Meta().GetNextIndex())

	bare := &replica{Machine: New(), t: t, term: 1}
	bare.ok(&fsmpb.BeginSession{NodeId: "n1", NewClusterId: "c"})
	bare.refused(SeedMissing, search(0, 1, true))
}

// A search that knows earlier events begins anew; one that knows only later ones
// goes on, and is as blind as the blindest part of it.
func TestSearchFromAnEarlierBlock(t *testing.T) {
	t.Parallel()
	from := func(start uint64, c *fsmpb.AdoptKeys) *fsmpb.AdoptKeys {
		c.Search.StartBlock = start
		return c
	}
	r := newReplica(t)
	r.ok(from(0, search(0, 10, false, 1)))
	r.ok(from(900, search(10, 20, false, 15)))
	require.Equal(t, uint64(900), r.View().Meta().GetSeedSearch().GetStartBlock())
	r.refused(StaleIndex, from(500, search(20, 30, false)))
	r.ok(from(900, search(20, 40, true)))
	r.refused(StaleIndex, from(900, search(0, 40, true)))
	r.refused(StaleIndex, from(901, search(0, 40, true)))

	r.ok(from(500, search(0, 10, false, 1, 4)))
	s := r.View().Meta().GetSeedSearch()
	require.Equal(t, uint64(5), s.GetFound())
	require.Equal(t, uint64(500), s.GetStartBlock())
	require.False(t, s.GetDone())
	r.ok(from(500, search(10, 40, true, 15)))
	require.Equal(t, 3, r.keysIn(fsmpb.KeyState_KEY_STATE_RESTING), "found late, or known and left as they were")
	require.Equal(t, uint64(16), r.View().Meta().GetNextIndex())
	r.refused(StaleIndex, from(500, search(40, 50, true)))
	r.ok(from(0, search(0, 40, true)))
	require.Zero(t, r.View().Meta().GetSeedSearch().GetStartBlock())
}

func TestSeeFinal(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.ok(&fsmpb.SeeFinal{Block: testFinal(1, 5)})
	r.ok(&fsmpb.SeeFinal{Block: testFinal(1, 3)})
	require.Equal(t, uint64(5), r.View().Meta().GetFinalBlock().GetNumber(), "a late one changes nothing")
	r.ok(&fsmpb.SeeFinal{Block: testFinal(1, 8)})
	require.Equal(t, uint64(8), r.View().Meta().GetFinalBlock().GetNumber())
	foreign := testFinal(1, 9)
	foreign.GenesisHash = hash32(77)
	r.refused(ForeignChain, &fsmpb.SeeFinal{Block: foreign})
	foreign.Hash = nil
	r.refused(Invalid, &fsmpb.SeeFinal{Block: foreign})
	r.refused(Invalid, &fsmpb.SeeFinal{})
	r.ok(&fsmpb.SeeFinal{Block: testFinal(2, 1)})
	require.Equal(t, uint64(2), r.View().Meta().GetFinalBlock().GetChainId(), "of another chain it is taken as it is")
}
