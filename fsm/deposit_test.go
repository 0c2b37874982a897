package fsm

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const (
	sent    = fsmpb.Observation_KIND_SENT
	mined   = fsmpb.Observation_KIND_MINED
	unmined = fsmpb.Observation_KIND_UNMINED
	final   = fsmpb.Observation_KIND_FINAL
	lost    = fsmpb.Observation_KIND_LOST
	foreign = fsmpb.Observation_KIND_FOREIGN
)

// planned has requests for n keys whose deposits are to be signed.
func planned(t *testing.T, n uint32) (*replica, [][]byte) {
	t.Helper()
	r := newReplica(t)
	r.generate(uint64(n))
	return r, r.ask("a", "1", n).Request.GetReserved()
}

func TestGenerateKeys(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.generate(2)
	require.EqualValues(t, 1, r.View().Key(pubkey(1)).GetIndex())
	for name, x := range map[string]struct {
		code Code
		c    *fsmpb.GenerateKeys
	}{
		"late repeat": {StaleIndex, &fsmpb.GenerateKeys{Pubkeys: pubkeys(0, 2)}},
		"gap":         {StaleIndex, &fsmpb.GenerateKeys{FirstIndex: 3, Pubkeys: pubkeys(3, 1)}},
		"known":       {StaleIndex, &fsmpb.GenerateKeys{FirstIndex: 2, Pubkeys: [][]byte{pubkey(2), pubkey(1)}}},
		"twice":       {StaleIndex, &fsmpb.GenerateKeys{FirstIndex: 2, Pubkeys: [][]byte{pubkey(2), pubkey(2)}}},
		"short":       {Invalid, &fsmpb.GenerateKeys{FirstIndex: 2, Pubkeys: [][]byte{pubkey(2), pubkey(3)[1:]}}},
		"empty":       {Invalid, &fsmpb.GenerateKeys{FirstIndex: 2, Pubkeys: [][]byte{{}}}},
	} {
		t.Log(name)
		r.refused(x.code, x.c)
	}
	bare := &replica{Machine: New(), t: t, term: 1}
	bare.ok(&fsmpb.BeginSession{})
	bare.refused(SeedMissing, &fsmpb.GenerateKeys{Pubkeys: pubkeys(0, 1)})
}

func TestSignDepositsUsesUpNoncesInOrder(t *testing.T) {
	t.Parallel()
	r, keys := planned(t, 3)
	r.sign(keys[0], keys[1])
	account := r.View().Account(1, testAccount(1).GetAddress())
	require.EqualValues(t, 7, account.GetNextNonce())
	for i, key := range keys[:2] {
		d := r.View().Deposit(key)
		require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_SIGNED, d.GetState())
		require.True(t, proto.Equal(signed(uint64(5+i), key).GetAttempt(), d.GetAttempts()[0]))
		require.Equal(t, uint64(32e9), d.GetAmountGwei())
		require.Equal(t, account.GetAddress(), d.GetAccount())
	}
}

func TestSignDepositsRefused(t *testing.T) {
	t.Parallel()
	r, keys := planned(t, 3)
	slices.SortFunc(keys[1:], bytes.Compare)
	if bytes.Compare(keys[0], keys[1]) < 0 { // the lowest public key is planned, not signed
		keys[0], keys[1] = keys[1], keys[0]
	}
	r.sign(keys[0])
	other := bytes.Repeat([]byte{8}, 20)
	of := func(list ...*fsmpb.SignedDeposit) *fsmpb.SignDeposits {
		return &fsmpb.SignDeposits{ChainId: 1, Account: testAccount(1).GetAddress(), Deposits: list}
	}
	changed := func(change func(*fsmpb.SignedDeposit)) *fsmpb.SignDeposits {
		s := signed(6, keys[1])
		change(s)
		return of(s)
	}
	odd := func(change func(*fsmpb.Attempt)) *fsmpb.SignDeposits {
		return changed(func(s *fsmpb.SignedDeposit) { change(s.GetAttempt()) })
	}
	for name, x := range map[string]struct {
		code Code
		c    *fsmpb.SignDeposits
	}{
		"other chain":         {NotFound, &fsmpb.SignDeposits{ChainId: 2, Account: testAccount(1).GetAddress()}},
		"other account":       {NotFound, &fsmpb.SignDeposits{ChainId: 1, Account: other}},
		"used nonce":          {StaleNonce, of(signed(5, keys[1]))},
		"gap":                 {StaleNonce, of(signed(7, keys[1]))},
		"one nonce twice":     {StaleNonce, of(signed(6, keys[1]), signed(6, keys[2]))},
		"gap later":           {StaleNonce, of(signed(6, keys[1]), signed(8, keys[2]))},
		"signed before":       {NotPlanned, of(signed(6, keys[0]))},
		"all or none":         {NotPlanned, of(signed(6, keys[1]), signed(7, keys[0]))},
		"one key twice":       {NotPlanned, of(signed(6, keys[1]), signed(7, keys[1]))},
		"no such key":         {NotPlanned, of(signed(6, pubkey(99)))},
		"no key":              {NotPlanned, of(signed(6, nil))},
		"no attempt":          {StaleNonce, of(&fsmpb.SignedDeposit{Pubkey: keys[1]})},
		"no bytes":            {Invalid, odd(func(a *fsmpb.Attempt) { a.Raw = nil })},
		"too many bytes":      {Invalid, odd(func(a *fsmpb.Attempt) { a.Raw = make([]byte, maxRaw+1) })},
		"no hash":             {Invalid, odd(func(a *fsmpb.Attempt) { a.TxHash = nil })},
		"no credentials":      {Invalid, changed(func(s *fsmpb.SignedDeposit) { s.Credentials = nil })},
		"short credentials":   {Invalid, changed(func(s *fsmpb.SignedDeposit) { s.Credentials = s.GetCredentials()[1:] })},
		"no signature":        {Invalid, changed(func(s *fsmpb.SignedDeposit) { s.Signature = nil })},
		"long signature":      {Invalid, changed(func(s *fsmpb.SignedDeposit) { s.Signature = append(s.GetSignature(), 1) })},
		"command far too big": {Invalid, odd(func(a *fsmpb.Attempt) { a.Raw = make([]byte, maxCommand) })},
	} {
		t.Log(name)
		r.refused(x.code, x.c)
	}
	r.sign(keys[1], keys[2])
}

// at brings one deposit into a state.
func at(t *testing.T, state fsmpb.DepositState) (*replica, []byte) {
	t.Helper()
	r, keys := planned(t, 1)
	if state >= fsmpb.DepositState_DEPOSIT_STATE_SIGNED {
		r.sign(keys[0])
	}
	for kind := sent; int(kind) <= int(state-fsmpb.DepositState_DEPOSIT_STATE_SIGNED); kind++ {
		switch kind {
		case sent, mined:
			r.observe(kind, keys[0])
		default:
			r.observe(final, keys[0])
		}
	}
	require.Equal(t, state, r.View().Deposit(keys[0]).GetState())
	return r, keys[0]
}

func TestObserveEveryKindInEveryState(t *testing.T) {
	t.Parallel()
	const (
		p = fsmpb.DepositState_DEPOSIT_STATE_PLANNED
		s = fsmpb.DepositState_DEPOSIT_STATE_SIGNED
		u = fsmpb.DepositState_DEPOSIT_STATE_SENT
		m = fsmpb.DepositState_DEPOSIT_STATE_MINED
		f = fsmpb.DepositState_DEPOSIT_STATE_FINAL
	)
	kinds := []fsmpb.Observation_Kind{fsmpb.Observation_KIND_UNSPECIFIED, sent, mined, unmined, final, lost, 99}
	for from, want := range map[fsmpb.DepositState][]fsmpb.DepositState{
		p: {p, p, p, p, p, p, p},
		s: {s, u, m, s, s, p, s},
		u: {u, u, m, u, u, p, u},
		m: {m, m, m, u, f, m, m},
		f: {f, f, f, f, f, f, f},
	} {
		for i, kind := range kinds {
			t.Run(from.String()+" "+kind.String(), func(t *testing.T) {
				t.Parallel()
				r, key := at(t, from)
				before := digest(r.View())
				r.observe(kind, key)
				require.Equal(t, want[i], r.View().Deposit(key).GetState())
				if want[i] == from {
					require.Equal(t, before, digest(r.View()), "nothing new, nothing changed")
				}
			})
		}
	}
}

func TestObserveLeavesOutWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*fsmpb.Observation){
		"other transaction": func(o *fsmpb.Observation) { o.TxHash = hash32(77) },
		"no transaction":    func(o *fsmpb.Observation) { o.TxHash = nil },
		"other key":         func(o *fsmpb.Observation) { o.Pubkey = pubkey(77) },
		"no key":            func(o *fsmpb.Observation) { o.Pubkey = nil },
	} {
		for _, kind := range []fsmpb.Observation_Kind{sent, mined, lost} {
			t.Run(name+" "+kind.String(), func(t *testing.T) {
				t.Parallel()
				r, key := at(t, fsmpb.DepositState_DEPOSIT_STATE_SIGNED)
				o := r.observation(kind, key)
				change(o)
				before := digest(r.View())
				r.ok(&fsmpb.ObserveDeposits{Observations: []*fsmpb.Observation{o}})
				require.Equal(t, before, digest(r.View()))
			})
		}
	}
	for name, block := range map[string][]byte{"other block": hash32(78), "no block": nil, "short block": {1}} {
		for _, kind := range []fsmpb.Observation_Kind{unmined, final, mined} {
			t.Run(name+" "+kind.String(), func(t *testing.T) {
				t.Parallel()
				r, key := at(t, fsmpb.DepositState_DEPOSIT_STATE_MINED)
				o := r.observation(kind, key)
				o.BlockHash = block
				before := digest(r.View())
				r.ok(&fsmpb.ObserveDeposits{Observations: []*fsmpb.Observation{o}})
				if name == "other block" && kind == mined { // a reorganisation took it along
					require.Equal(t, block, r.View().Deposit(key).GetBlockHash())
					return
				}
				require.Equal(t, before, digest(r.View()))
			})
		}
	}
}

func TestUnminedGoesBackAndLandsAgain(t *testing.T) {
	t.Parallel()
	r, key := at(t, fsmpb.DepositState_DEPOSIT_STATE_MINED)
	attempts := r.View().Deposit(key).GetAttempts()
	r.observe(unmined, key)
	d := r.View().Deposit(key)
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_SENT, d.GetState())
	require.Equal(t, attempts, d.GetAttempts(), "the same bytes are sent again")
	require.Empty(t, d.GetBlockHash())
	r.observe(mined, key)
	r.observe(final, key)
	require.Equal(t, "1", r.holder(key))
	require.Empty(t, r.View().Deposit(key).GetAttempts()[0].GetRaw())
}

func TestLostIsSignedAgainWithAnotherNonce(t *testing.T) {
	t.Parallel()
	r, key := at(t, fsmpb.DepositState_DEPOSIT_STATE_SENT)
	tx := r.View().Deposit(key).GetAttempts()[0].GetTxHash()
	o := r.observation(lost, key)
	o.Reason = string(bytes.Repeat([]byte("ü"), 4096))
	r.ok(&fsmpb.ObserveDeposits{Observations: []*fsmpb.Observation{o}})
	d := r.View().Deposit(key)
	require.Equal(t, [][]byte{key}, r.toSign())
	require.Len(t, d.GetLosses(), 1)
	require.Equal(t, tx, d.GetLosses()[0].GetTxHash())
	require.LessOrEqual(t, len(d.GetLosses()[0].GetReason()), 1024)
	r.refused(StaleNonce, &fsmpb.SignDeposits{ChainId: 1, Account: d.GetAccount(), Deposits: []*fsmpb.SignedDeposit{signed(5, key)}})

	r.stock(0 + 1) // a key of the pool does not replace one that was paid for once
	require.Equal(t, "1", r.holder(key))
	require.EqualValues(t, 6, r.View().Deposit(key).GetAttempts()[0].GetNonce())
}

func TestLostDepositOfNobodyWaitsForTheNextRequest(t *testing.T) {
	t.Parallel()
	r, key := at(t, fsmpb.DepositState_DEPOSIT_STATE_SIGNED)
	r.withdraw("a")
	r.observe(lost, key)
	require.Empty(t, r.toSign(), "nobody wants it")
	r.refused(NotPlanned, &fsmpb.SignDeposits{
		ChainId: 1, Account: testAccount(1).GetAddress(), Deposits: []*fsmpb.SignedDeposit{signed(6, key)},
	})
	require.NotNil(t, r.View().Deposit(key), "its loss is remembered")
	r.generate(1)
	require.Equal(t, key, r.ask("b", "1", 1).Request.GetReserved()[0], "before a new key")
	r.pay()
	require.Equal(t, "1", r.holder(key))
}

func TestOneObservationOfManySteps(t *testing.T) {
	t.Parallel()
	r, keys := planned(t, 2)
	r.sign(keys...)
	var list []*fsmpb.Observation
	for _, kind := range []fsmpb.Observation_Kind{sent, mined, final, final, mined, lost} {
		for _, key := range keys {
			o := r.observation(kind, key)
			list = append(list, o)
		}
	}
	r.ok(&fsmpb.ObserveDeposits{Observations: list})
	require.Equal(t, keys, r.View().Allocation("ns", "a").GetKeys())
}

func TestOpenAccount(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	before := digest(r.View())
	again := testAccount(1)
	again.NextNonce = 99
	r.ok(&fsmpb.OpenAccount{Account: again})
	require.Equal(t, before, digest(r.View()), "the nonce is what was logged, not what is said later")
	for name, x := range map[string]struct {
		code   Code
		change func(*fsmpb.Account)
	}{
		"other genesis": {ForeignChain, func(a *fsmpb.Account) { a.GenesisHash = hash32(2) }},
		"other genesis, other account": {ForeignChain, func(a *fsmpb.Account) {
			a.GenesisHash, a.Address = hash32(2), bytes.Repeat([]byte{6}, 20)
		}},
		"no chain":      {Invalid, func(a *fsmpb.Account) { a.ChainId = 0 }},
		"short address": {Invalid, func(a *fsmpb.Account) { a.Address = a.GetAddress()[1:] }},
		"no genesis":    {Invalid, func(a *fsmpb.Account) { a.GenesisHash = nil }},
		"endless nonce": {Invalid, func(a *fsmpb.Account) { a.ChainId, a.NextNonce = 3, 1<<64-1 }},
	} {
		t.Log(name)
		a := testAccount(1)
		x.change(a)
		r.refused(x.code, &fsmpb.OpenAccount{Account: a})
	}
	r.refused(Invalid, &fsmpb.OpenAccount{})
	more := testAccount(1)
	more.Address = bytes.Repeat([]byte{6}, 20)
	r.ok(&fsmpb.OpenAccount{Account: more})
	other := testAccount(257) // another chain, whatever its number shares with the first
	r.ok(&fsmpb.OpenAccount{Account: other})
	require.Equal(t, ForeignChain, r.do(&fsmpb.OpenAccount{Account: &fsmpb.Account{
		ChainId: 1, GenesisHash: hash32(2), Address: testAccount(1).GetAddress(),
	}}).Refusal.Code)
}

func TestDepositStatusKeepsItsTime(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.ok(&fsmpb.SetDepositStatus{Code: "no-money", Detail: "1"})
	since := r.View().DepositStatus().GetSinceWallMs()
	r.ok(&fsmpb.SetDepositStatus{Code: "no-money", Detail: "2"})
	require.Equal(t, since, r.View().DepositStatus().GetSinceWallMs())
	require.Equal(t, "2", r.View().DepositStatus().GetDetail())
	changes := r.View().WatchWaiting("ns", "a")
	r.ok(&fsmpb.SetDepositStatus{Code: "no-money", Detail: "2"})
	require.False(t, fired(changes), "the same again is no news")
	r.ok(&fsmpb.SetDepositStatus{})
	require.Greater(t, r.View().DepositStatus().GetSinceWallMs(), since)
}
