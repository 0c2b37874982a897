package fsm

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestApplyStopsAtWhatItCanNotRead(t *testing.T) {
	t.Parallel()
	good := command(1, 1, &fsmpb.BeginSession{NodeId: "n"})
	newer, old, empty := proto.CloneOf(good), proto.CloneOf(good), proto.CloneOf(good)
	newer.Version, old.Version, empty.Body = CommandVersion+1, 0, nil
	unknownKind, err := proto.Marshal(empty)
	require.NoError(t, err)
	unknownKind = protowire.AppendTag(unknownKind, 99, protowire.BytesType)
	unknownKind = protowire.AppendBytes(unknownKind, []byte("?"))
	wrapped := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), unknownKind)
	for name, x := range map[string]struct {
		data []byte
		want error
	}{
		"damaged":      {[]byte{0xff}, ErrDamaged},
		"cut":          {entry(t, good)[:5], ErrDamaged},
		"newer":        {entry(t, good, newer), ErrUnknownCommand},
		"no version":   {entry(t, good, old), ErrUnknownCommand},
		"no body":      {entry(t, good, empty), ErrUnknownCommand},
		"unknown kind": {wrapped, ErrUnknownCommand},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := New()
			before := m.View().Hash()
			_, err := m.Apply(1, 1, x.data)
			require.ErrorIs(t, err, x.want)
			require.Equal(t, before, m.View().Hash())
		})
	}
}

func TestSessionIsTheTermOfItsEntry(t *testing.T) {
	t.Parallel()
	r := &replica{Machine: New(), t: t, term: 3}
	member := &fsmpb.SetMember{Member: &fsmpb.Member{NodeId: "n", RaftAddress: "a"}}
	r.refused(StaleSession, member) // no session yet
	require.EqualValues(t, 3, r.ok(&fsmpb.BeginSession{NodeId: "n1", NewClusterId: "first"}))
	r.ok(member)

	r.term = 4
	results := r.apply(command(3, 1, member), command(4, 1, member), command(0, 1, &fsmpb.BeginSession{NewClusterId: "second"}), command(3, 1, member), command(4, 1, member))
	for i, want := range []bool{false, false, true, false, true} {
		require.Equal(t, want, results[i].Refusal == nil, "command %d: %v", i, results[i].Refusal)
	}
	require.Equal(t, "first", r.View().Meta().GetClusterId())
	require.EqualValues(t, 4, r.View().Meta().GetSession())
	require.Equal(t, r.index, r.View().Meta().GetAppliedIndex())
	require.EqualValues(t, 4, r.View().Meta().GetAppliedTerm())
}

func TestMembers(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	member := &fsmpb.Member{NodeId: "n1", RaftAddress: "r", ApiUrl: "u", Terms: "t"}
	r.ok(&fsmpb.SetMember{Member: member})
	before := digest(r.View())
	r.ok(&fsmpb.SetMember{Member: member})
	r.ok(&fsmpb.RemoveMember{NodeId: "n2"})
	require.Equal(t, before, digest(r.View()), "a repeat changes nothing")
	require.Equal(t, "u", r.View().Member("n1").GetApiUrl())
	require.Equal(t, "t", r.View().Member("n1").GetTerms())
	r.refused(Invalid, &fsmpb.SetMember{})
	r.refused(Invalid, &fsmpb.SetMember{Member: &fsmpb.Member{NodeId: "n3"}})
	r.ok(&fsmpb.RemoveMember{NodeId: "n1"})
	require.Nil(t, r.View().Member("n1"))
	for range r.View().Members() {
		t.Fatal("a member is left")
	}
}

func TestSecretsAreInstalledOnce(t *testing.T) {
	t.Parallel()
	r := &replica{Machine: New(), t: t, term: 1}
	r.ok(&fsmpb.BeginSession{})
	r.refused(Invalid, &fsmpb.InstallKeyring{})
	r.ok(&fsmpb.InstallKeyring{Sealed: []byte("k")})
	r.refused(KeyringExists, &fsmpb.InstallKeyring{Sealed: []byte("k2")})
	r.refused(Invalid, &fsmpb.InstallSeed{Fingerprint: "f"})
	r.refused(Invalid, &fsmpb.InstallSeed{Sealed: []byte("s")})
	r.ok(&fsmpb.InstallSeed{Sealed: under(1, "s"), Fingerprint: "f"})
	before := digest(r.View())
	r.ok(&fsmpb.InstallSeed{Sealed: under(1, "sealed anew"), Fingerprint: "f"})
	require.Equal(t, before, digest(r.View()))
	r.refused(SeedExists, &fsmpb.InstallSeed{Sealed: under(1, "s"), Fingerprint: "g"})
	require.Equal(t, under(1, "s"), r.View().Secret(SecretSeed).GetSealed())
	require.Equal(t, []byte("k"), r.View().Secret(SecretKeyring).GetSealed())
}

func TestRefusalIsAnError(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("allocate: %w", Result{Refusal: refuse(StaleFence, "fence %d", 3)}.Err())
	require.EqualError(t, err, "allocate: stale-fence: fence 3")
	require.ErrorIs(t, err, Refused(StaleFence))
	require.NotErrorIs(t, err, Refused(NotFound))
	require.NotErrorIs(t, err, errors.New("other"))
	require.NoError(t, Result{}.Err())
}

// TestHostileCommands are well formed and mean harm.
func TestHostileCommands(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.refused(Invalid, &fsmpb.Allocate{})
	r.ok(&fsmpb.SignDeposits{ChainId: 1, Account: testAccount(1).GetAddress()})
	r.refused(StaleNonce, &fsmpb.SignDeposits{ChainId: 1, Account: testAccount(1).GetAddress(), Deposits: []*fsmpb.SignedDeposit{{}}})
	r.refused(NotFound, &fsmpb.SignDeposits{})
	before := digest(r.View())
	r.ok(&fsmpb.ObserveDeposits{Observations: []*fsmpb.Observation{{}, {Kind: -1}, {Kind: 1 << 30, Pubkey: []byte{0}}}})
	r.ok(&fsmpb.Tick{})
	r.ok(&fsmpb.RemoveMember{})
	require.Equal(t, before, digest(r.View()))
	big := &fsmpb.SetMember{Member: &fsmpb.Member{NodeId: "n", RaftAddress: string(make([]byte, maxCommand))}}
	r.refused(Invalid, big)
}

func TestNothingHasAnEmptyName(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.generate(1)
	r.ask("a", "1", 1)
	v := r.View()
	require.Nil(t, v.Key(nil))
	require.Nil(t, v.Key([]byte{}))
	require.Nil(t, v.Deposit(nil))
	require.Nil(t, v.Member(""))
	require.Nil(t, v.Secret(""))
	require.Nil(t, v.Request("", ""))
	require.Nil(t, v.Allocation("", ""))
	require.Nil(t, v.Account(0, nil))
}

func TestViewsAreReadWhileTheMachineGoesOn(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(3)
	view := r.View()
	want := view.Hash()
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for range 20 {
				if view.Hash() != want || r.View().Check() != nil {
					t.Error("a view changed")
				}
			}
		})
	}
	for range 50 {
		r.ask("a", "1", 2)
		r.free("a", proof(), 0)
	}
	readers.Wait()
}
