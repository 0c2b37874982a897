package fsm

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// restored is a replica whose state, as prepare made it, was backed up, then changed
// by later, and then restored. A session is open again.
func restored(t *testing.T, prepare, later func(*replica)) *replica {
	t.Helper()
	r := newReplica(t)
	prepare(r)
	data := snapshot(t, r.View())
	if later != nil {
		later(r)
	}
	require.Equal(t, Restored(1), r.restoreBackup("a", data, 1000).Value)
	require.Zero(t, r.View().Meta().GetSession())
	r.ok(&fsmpb.BeginSession{NodeId: "n2", NewClusterId: "other"})
	require.Equal(t, "c", r.View().Meta().GetClusterId())
	require.True(t, r.View().RestoreOpen())
	return r
}

// settled does what a leader's duty does before a restore can be confirmed.
func (r *replica) settled(next uint64, found ...uint64) {
	r.t.Helper()
	a := testAccount(1)
	r.ok(&fsmpb.SettleAccount{ChainId: a.GetChainId(), Account: a.GetAddress(), NextNonce: next, BlockNumber: 9})
	to := uint64(1)
	for _, index := range found {
		to = index + 1
	}
	r.ok(search(0, to, true, found...))
	require.Empty(r.t, r.View().RestoreMissing())
}

func (r *replica) confirmRestored(wait uint64) {
	r.t.Helper()
	r.ok(&fsmpb.ConfirmRestore{Number: 1, Proof: proof(), WaitMs: wait})
	require.False(r.t, r.View().RestoreOpen())
}

func TestRestoreHoldsEverythingBack(t *testing.T) {
	t.Parallel()
	r := restored(t, func(r *replica) {
		r.stock(2)
		r.ask("a", "1", 1)
		r.ok(&fsmpb.RenewLease{Pod: testPod("a", "1"), DurationMs: 1000})
	}, nil)
	a := r.View().Allocation("ns", "a")
	require.Equal(t, fsmpb.AllocationState_ALLOCATION_STATE_RESTING, a.GetState())
	require.Equal(t, RestRestored, a.GetCode())
	account := testAccount(1)
	r.refused(RestoreUnconfirmed, &fsmpb.Allocate{Pod: testPod("a", "1"), Keys: 1})
	r.refused(RestoreUnconfirmed, &fsmpb.RenewLease{Pod: testPod("a", "1"), DurationMs: 1000})
	r.refused(RestoreUnconfirmed, &fsmpb.GenerateKeys{FirstIndex: r.View().Meta().GetNextIndex()})
	r.refused(RestoreUnconfirmed, &fsmpb.SignDeposits{ChainId: 1, Account: account.GetAddress()})
	r.refused(RestoreUnconfirmed, &fsmpb.ActOnCloud{})
	r.refused(RestoreUnconfirmed, &fsmpb.InstallCloudKey{})
	r.refused(RestoreUnconfirmed, &fsmpb.RequestCertificates{})
	r.refused(RestoreUnconfirmed, &fsmpb.DiscloseKubeconfig{})

	before := bare(r.View())
	seen := &fsmpb.PodObservation{
		Kind: fsmpb.PodObservation_KIND_PROVEN, Pod: testPod("a", "1"), Fence: a.GetFence(), Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_POD_TERMINATED},
	}
	require.Equal(t, ObservedPods(0), r.ok(&fsmpb.ObservePods{KubernetesUid: "k", Pods: []*fsmpb.PodObservation{seen}}))
	require.Equal(t, before, bare(r.View()))

	r.settled(7)
	r.refused(Invalid, &fsmpb.ConfirmRestore{Number: 1, Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_CALLER}})
	r.refused(NotFound, &fsmpb.ConfirmRestore{Number: 2, Proof: proof()})
	r.confirmRestored(100)
	r.ok(&fsmpb.ConfirmRestore{Number: 1, Proof: proof()}) // repeated
	require.Equal(t, 2, r.keysIn(fsmpb.KeyState_KEY_STATE_RESTING), "the wait after the operator's word")
	r.ok(&fsmpb.Tick{ElapsedMs: 100})
	require.Equal(t, 1, r.keysIn(fsmpb.KeyState_KEY_STATE_FREE))
	woken := r.ask("a", "1", 1)
	require.Equal(t, a.GetKeys(), woken.Allocation.GetKeys(), "the same pod has its keys again")
	require.Greater(t, woken.Allocation.GetFence(), uint64(fenceLeap))
}

// A deposit that was signed before the backup may be stuck by its fee, and no restore is
// confirmed before it is final. Its nonce is what it had, in whatever history.
func TestReplaceDepositWhileARestoreIsOpen(t *testing.T) {
	t.Parallel()
	var key []byte
	r := restored(t, func(r *replica) {
		r.ask("a", "1", 1)
		r.generate(1)
		key = r.toSign()[0]
		r.sign(key)
	}, nil)
	first := r.View().Deposit(key).GetAttempts()[0]
	other := dearer(first)
	other.Nonce++
	r.refused(StaleNonce, &fsmpb.ReplaceDeposit{Pubkey: key, Attempt: other})
	r.refused(Invalid, &fsmpb.ReplaceDeposit{Pubkey: key, Attempt: first})
	r.ok(&fsmpb.ReplaceDeposit{Pubkey: key, Attempt: dearer(first)})
	require.Len(t, r.View().Deposit(key).GetAttempts(), 2)
	require.Equal(t, r.View().Deposit(key).GetAttempts()[1].GetNonce(), first.GetNonce())
	require.NoError(t, r.View().Check())
}

// What a key was before decides what becomes of it.
func TestRewindOfKeys(t *testing.T) {
	t.Parallel()
	var free, held, proven, reserved, pending, retired []byte
	r := restored(t, func(r *replica) {
		r.ok(&fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{{Pubkey: pubkey(900), Sealed: under(1, "x")}, {Pubkey: pubkey(901), Sealed: under(1, "x")}}})
		r.ok(&fsmpb.ConfirmStopped{Pubkey: pubkey(901), Fence: r.View().Key(pubkey(901)).GetFence(), Proof: proof(), WaitMs: 1000})
		keys := r.stock(5)
		held = r.ask("held", "1", 1).Allocation.GetKeys()[0]
		proven = r.ask("proven", "1", 1).Allocation.GetKeys()[0]
		r.free("proven", proof(), 50_000)
		r.ask("proven", "2", 1)
		retired = keys[4]
		r.retire(RetiredOperator, retired)
		r.ask("waits", "1", 5) // what is free, and new ones
		r.generate(4)
		pending = r.toSign()[0]
		r.sign(pending)
		free, reserved = keys[2], keys[3]
	}, nil)
	v := r.View()
	require.Nil(t, v.Request("ns", "waits"))
	require.Nil(t, v.Request("ns", "proven"))
	for name, k := range map[string]*fsmpb.Key{"free": v.Key(free), "reserved": v.Key(reserved), "imported and proven": v.Key(pubkey(901))} {
		require.True(t, RestsAlone(k) && k.GetRestored() && k.GetProof() == nil && k.GetReservedBy() == "", "%s: %v", name, k)
		r.refused(RestoreUnconfirmed, &fsmpb.ConfirmStopped{Pubkey: pubkey(901), Fence: v.Key(pubkey(901)).GetFence(), Proof: proof()})
	}
	require.False(t, v.Key(pubkey(900)).GetRestored(), "nobody ever vouched for it")
	require.Equal(t, "held", v.Key(held).GetHolder().GetName())
	require.Nil(t, v.Allocation("ns", "proven").GetProof(), "who had the key since is not known")
	require.Equal(t, fsmpb.KeyState_KEY_STATE_RETIRED, v.Key(retired).GetState())
	require.True(t, v.Key(pending).GetRestored())
	require.Zero(t, r.keysIn(fsmpb.KeyState_KEY_STATE_GENERATED))
	require.Equal(t, 1, r.keysIn(fsmpb.KeyState_KEY_STATE_DEPOSITING))
	require.Equal(t, uint64(9+indexLeap), v.Meta().GetNextIndex())

	r.finish(pending)
	require.True(t, RestsAlone(r.View().Key(pending)), "its deposit is final, and it is not handed out")
	r.free("proven", proof(), 0)
	require.True(t, RestsAlone(r.View().Key(proven)), "an operator vouches for the pod that is known, not for the one that may have followed")
	r.settled(r.View().Account(1, testAccount(1).GetAddress()).GetNextNonce())
	r.confirmRestored(0)
	require.Equal(t, 5, r.keysIn(fsmpb.KeyState_KEY_STATE_FREE))
	require.Equal(t, 2, r.keysIn(fsmpb.KeyState_KEY_STATE_RESTING), "the pod's, and the key that was imported")
}

// A stake that was paid after the backup is found, and never paid for again.
func TestStakesOfTheLostHistory(t *testing.T) {
	t.Parallel()
	var planned, replaced, lostOnce, mined []byte
	index := func(r *replica, pubkey []byte) uint64 { return r.View().Key(pubkey).GetIndex() }
	var indexes []uint64
	r := restored(t, func(r *replica) {
		r.ask("a", "1", 4)
		r.generate(4)
		keys := r.toSign()
		planned, replaced, lostOnce, mined = keys[0], keys[1], keys[2], keys[3]
		r.sign(replaced, lostOnce, mined) // nonces 5 to 7
		r.observe(fsmpb.Observation_KIND_LOST, lostOnce)
		for _, k := range keys {
			indexes = append(indexes, index(r, k))
		}
	}, nil)
	require.Nil(t, r.View().Key(planned), "as if it had never been generated")
	before := bare(r.View())
	r.observe(fsmpb.Observation_KIND_LOST, replaced)
	require.Equal(t, before, bare(r.View()), "what looks lost may be ours")
	r.refused(RestoreIncomplete, &fsmpb.ConfirmRestore{Number: 1, Proof: proof()})

	r.finish(mined)
	a := testAccount(1)
	r.refused(StaleNonce, &fsmpb.SettleAccount{ChainId: 1, Account: a.GetAddress(), NextNonce: 7})
	c := search(0, 20, true, indexes[:3]...)
	for i := range c.GetFound() {
		c.Found[i].Stake.TxHash = hash32(byte(i), 77)
	}
	r.ok(c)
	for _, k := range [][]byte{planned, replaced, lostOnce} {
		require.NotNil(t, r.View().Key(k).GetAdopted())
		require.Nil(t, r.View().Deposit(k))
	}
	r.refused(RestoreIncomplete, &fsmpb.ConfirmRestore{Number: 1, Proof: proof()})
	r.ok(&fsmpb.SettleAccount{ChainId: 1, Account: a.GetAddress(), NextNonce: 10})
	r.refused(RestoreIncomplete, &fsmpb.ConfirmRestore{Number: 1, Proof: proof()})
	r.ok(search(0, 20, true)) // again: what was under way has landed now
	r.confirmRestored(0)
	account := r.View().Account(1, a.GetAddress())
	require.Equal(t, uint64(10), account.GetNextNonce())
	require.Len(t, account.GetGivenUp(), 3, "the replaced, the lost, and those that the backup knows nothing of")

	r.ask("b", "1", 2)
	r.generate(1)
	require.Len(t, r.toSign(), 1)
	r.pay()
	require.Equal(t, uint64(indexLeap+4), index(r, r.View().Allocation("ns", "b").GetKeys()[1]))
}

// A deposit that the backup brought and that is lost after the confirmation is not
// signed anew: the lost history may have done that with a nonce that comes yet.
func TestLostAfterRestoreIsRetired(t *testing.T) {
	t.Parallel()
	var pending, planned []byte
	r := restored(t, func(r *replica) {
		r.ask("a", "1", 2)
		r.generate(2)
		pending, planned = r.toSign()[0], r.toSign()[1]
		r.sign(pending, planned)
		r.observe(fsmpb.Observation_KIND_LOST, planned)
	}, nil)
	r.settled(7)
	r.confirmRestored(0)
	require.Equal(t, RetiredRestored, r.View().Key(planned).GetRetiredReason())
	r.ask("b", "1", 1)
	require.Equal(t, [][]byte{pending}, r.View().Request("ns", "b").GetReserved())
	r.observe(fsmpb.Observation_KIND_LOST, pending)
	require.Equal(t, RetiredRestored, r.View().Key(pending).GetRetiredReason())
	require.Empty(t, r.toSign())
	require.Empty(t, r.View().Request("ns", "b").GetReserved(), "it waits for another key")
}

func TestAccountsAfterARestore(t *testing.T) {
	t.Parallel()
	r := restored(t, func(r *replica) { r.ok(&fsmpb.OpenAccount{Account: testAccount(2)}) }, nil)
	r.settled(5)
	r.confirmRestored(0) // the account on a chain that nobody is connected to keeps its mark
	r.ask("a", "1", 1)
	r.generate(1)
	c := &fsmpb.SignDeposits{ChainId: 2, Account: testAccount(2).GetAddress(), Deposits: []*fsmpb.SignedDeposit{signed(5, r.toSign()[0])}}
	r.refused(RestoreUnconfirmed, c)
	settle := &fsmpb.SettleAccount{ChainId: 2, Account: testAccount(2).GetAddress(), NextNonce: 5}
	r.ok(settle)
	r.ok(settle)
	settle.NextNonce++
	r.refused(WrongState, settle)
	r.ok(c)
}

func TestTokensAfterARestore(t *testing.T) {
	t.Parallel()
	token := func(n byte) *fsmpb.Token { return &fsmpb.Token{Name: "t", Role: "admin", Sha256: hash32(n)} }
	r := restored(t, func(r *replica) {
		r.ok(&fsmpb.CreateToken{Token: token(1)})
		r.ok(&fsmpb.CreateToken{Token: token(2)})
	}, func(r *replica) { r.ok(&fsmpb.RevokeToken{Id: tokenID(token(2))}) })
	for x := range r.View().Tokens("") {
		require.True(t, x.GetSuspended())
	}
	r.refused(TokenExists, &fsmpb.CreateToken{Token: token(1)})
	r.ok(&fsmpb.CreateToken{Token: token(3)})
	require.False(t, r.View().Token(tokenID(token(3))).GetSuspended())
	r.ok(&fsmpb.ConfirmToken{Id: tokenID(token(1))})
	r.ok(&fsmpb.ConfirmToken{Id: tokenID(token(1))})
	r.refused(NotFound, &fsmpb.ConfirmToken{Id: "none"})
	require.False(t, r.View().Token(tokenID(token(1))).GetSuspended())
	require.True(t, r.View().Token(tokenID(token(2))).GetSuspended(), "revoked after the backup")
}

func TestMembersStayInARestore(t *testing.T) {
	t.Parallel()
	member := func(name string) *fsmpb.SetMember {
		return &fsmpb.SetMember{Member: &fsmpb.Member{NodeId: name, RaftAddress: "r"}}
	}
	r := restored(t, func(r *replica) { r.ok(member("old")) }, func(r *replica) {
		r.ok(&fsmpb.RemoveMember{NodeId: "old"})
		r.ok(member("new"))
	})
	require.Nil(t, r.View().Member("old"))
	require.NotNil(t, r.View().Member("new"))
}

func TestConfirmWithoutAChain(t *testing.T) {
	t.Parallel()
	r := &replica{Machine: New(), t: t, term: 1}
	r.ok(&fsmpb.BeginSession{NodeId: "n1", NewClusterId: "c"})
	r.ok(&fsmpb.RaiseFeatureLevel{Level: 1})
	r.ok(&fsmpb.InstallSeed{Sealed: under(1, "x"), Fingerprint: "f"})
	r.restoreBackup("a", snapshot(t, r.View()), 1000)
	r.ok(&fsmpb.BeginSession{NodeId: "n1"})
	r.refused(RestoreIncomplete, &fsmpb.ConfirmRestore{Number: 1, Proof: proof()})
	r.ok(&fsmpb.ConfirmRestore{Number: 1, Proof: proof(), NoDeposits: true})

	other := restored(t, func(*replica) {}, nil)
	other.refused(RestoreIncomplete, &fsmpb.ConfirmRestore{Number: 1, Proof: proof(), NoDeposits: true})
}

func TestStaging(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	part := func(id string, n uint32, data string) *fsmpb.StageRestore {
		return &fsmpb.StageRestore{RestoreId: id, Sequence: n, Data: []byte(data)}
	}
	r.refused(NotFound, part("a", 1, "x"))
	r.refused(Invalid, part("a", 0, ""))
	r.refused(Invalid, part("", 0, "x"))
	r.refused(Invalid, &fsmpb.StageRestore{RestoreId: "a", Data: make([]byte, MaxStagePart+1)})
	r.ok(part("a", 0, "one"))
	r.ok(part("a", 0, "one")) // again
	r.ok(part("a", 1, "two"))
	r.refused(Invalid, part("a", 3, "x"))
	r.refused(NotFound, part("b", 2, "x"))
	r.refused(DamagedBackup, &fsmpb.FinishRestore{RestoreId: "a", ClusterId: "c", Force: true})
	r.refused(NotFound, &fsmpb.FinishRestore{RestoreId: "b", ClusterId: "c", Force: true})
	var staged bytes.Buffer
	_, err := staged.ReadFrom(r.View().Staged())
	require.NoError(t, err)
	require.Equal(t, "onetwo", staged.String())
	copied := New()
	require.NoError(t, copied.Restore(bytes.NewReader(snapshot(t, r.View()))))
	require.Equal(t, r.View().Hash(), copied.View().Hash())
	r.ok(part("b", 0, "x")) // begins anew
	r.ok(&fsmpb.AbandonRestore{RestoreId: "a"})
	require.NotNil(t, r.View().Meta().GetStaging())
	r.ok(&fsmpb.AbandonRestore{})
	require.Nil(t, r.View().Meta().GetStaging())
	r.ok(part("b", 0, "x"))
	r.term++
	r.ok(&fsmpb.BeginSession{NodeId: "n2"})
	require.Nil(t, r.View().Meta().GetStaging(), "another leader knows nothing of it")
}

func TestRestoreNamesWhatItGivesUp(t *testing.T) {
	t.Parallel()
	from := newReplica(t)
	from.stock(1)
	data := snapshot(t, from.View())
	finish := &fsmpb.FinishRestore{RestoreId: "a", Sha256: sumOf(data), Index: from.index, ClusterId: "c"}
	stage := &fsmpb.StageRestore{RestoreId: "a", Data: data}

	from.ok(stage)
	from.refused(InUse, finish)
	finish.Index++
	finish.Force = true
	from.refused(DamagedBackup, finish)
	finish.Index--
	from.ok(finish)
	require.Equal(t, Restored(1), from.apply(command(from.term, 1, &fsmpb.BeginSession{}), command(from.term, 1, finish))[1].Value, "a repeat")

	other := &replica{Machine: New(), t: t, term: 1}
	other.ok(&fsmpb.BeginSession{NodeId: "n1", NewClusterId: "other"})
	other.refused(FeatureRefused, stage)
	other.ok(&fsmpb.RaiseFeatureLevel{Level: 1})
	other.ok(&fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{{Pubkey: pubkey(1), Sealed: under(1, "x")}}})
	other.ok(stage)
	other.refused(InUse, finish)
	finish.Replaces = "other"
	other.ok(finish)
	require.Equal(t, "c", other.View().Meta().GetClusterId())
	require.Equal(t, "other", other.View().Meta().GetRestore().GetReplacedCluster())

	empty := &replica{Machine: New(), t: t, term: 1}
	empty.ok(&fsmpb.BeginSession{NodeId: "n1", NewClusterId: "new"})
	empty.ok(&fsmpb.RaiseFeatureLevel{Level: 1})
	empty.ok(stage)
	finish.Force, finish.Replaces = false, ""
	watched := empty.View().WatchMembers()
	empty.ok(finish)
	require.True(t, watched.Wait(nil), "whoever watched the old state wakes up")
	require.ErrorIs(t, empty.do(&fsmpb.Tick{}).Err(), Refused(StaleSession))
}

// What follows in the batch was decided before the restore, and is refused.
func TestRestoreEndsTheSessionWithinABatch(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	data := snapshot(t, r.View())
	r.ok(&fsmpb.StageRestore{RestoreId: "a", Data: data})
	results := r.apply(
		command(r.term, 1, &fsmpb.SetSpareKeys{Keys: 1}),
		command(r.term, 1, &fsmpb.FinishRestore{RestoreId: "a", Sha256: sumOf(data), Index: r.index - 1, ClusterId: "c"}),
		command(r.term, 1, &fsmpb.SetSpareKeys{Keys: 2}))
	require.NoError(t, results[1].Err())
	require.ErrorIs(t, results[2].Err(), Refused(StaleSession))
	require.Equal(t, r.index, r.View().Meta().GetAppliedIndex())
	require.Zero(t, r.View().Spares().Wanted)
	require.NoError(t, r.View().Check())
}

// A cloud that was up has another generation, and no key, until the restore is
// confirmed; one that was not stays as it is.
func TestCloudsAfterARestore(t *testing.T) {
	t.Parallel()
	r := restored(t, func(r *replica) {
		r.describe("p", "up", "r")
		r.act(instantiate, "p", "up")
		r.issue("p", "up", "r")
		r.describe("p", "made", "r")
	}, func(r *replica) { r.act(rotateKey, "p", "up") })
	m := r.View().Meta().GetRestore()
	up := r.View().Cloud("p", "up")
	require.Nil(t, up.GetKey())
	require.Equal(t, "Instantiating", r.state("p", "up"))
	require.Greater(t, up.GetGeneration(), uint64(generationLeap))
	require.GreaterOrEqual(t, up.GetGeneration(), m.GetNextGeneration(), "beyond all that the lost history may have given")
	require.Empty(t, r.View().Certificate("p", "up", "r").GetPem())
	require.Equal(t, "Created", r.state("p", "made"))
	r.settled(5)
	r.confirmRestored(0)
	r.issue("p", "up", "r")
	require.Equal(t, "Instantiated", r.state("p", "up"))
	r.act(instantiate, "p", "made")
}
