package fsm

import (
	"bytes"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// fired reports whether something changed since the changes were asked for.
func fired(c Changes) bool {
	for _, ch := range c.chans {
		select {
		case <-ch:
			return c.Wait(nil)
		default:
		}
	}
	return false
}

func TestWatchPodFiresOnGrant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t)
		r.ask("a", "1", 1)
		changes := r.View().WatchPod("ns", "a")
		granted := make(chan bool)
		go func() { granted <- changes.Wait(t.Context().Done()) }()
		synctest.Wait()
		r.generate(1)
		require.True(t, <-granted)

		for changes = r.View().WatchPod("ns", "a"); r.View().Allocation("ns", "a") == nil; changes = r.View().WatchPod("ns", "a") {
			go func() { granted <- changes.Wait(t.Context().Done()) }()
			synctest.Wait()
			r.pay()
			require.True(t, <-granted)
		}
		require.False(t, fired(changes))
	})
}

func TestWaitEndsWithDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		changes := New().View().WatchPod("ns", "a")
		done, ended := make(chan struct{}), make(chan bool, 1)
		go func() { ended <- changes.Wait(done) }()
		synctest.Wait()
		require.Empty(t, ended, "nothing happened yet")
		close(done)
		require.False(t, <-ended)
	})
}

func TestWatchesFireForWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	pod := func(v *View) Changes { return v.WatchPod("ns", "a") }
	waiting := func(v *View) Changes { return v.WatchWaiting("ns", "a") }
	for name, x := range map[string]struct {
		watch func(*View) Changes
		body  proto.Message
		want  bool
	}{
		"pod: its request":      {pod, &fsmpb.Allocate{Pod: testPod("a", "1"), Keys: 1}, true},
		"pod: nothing of it":    {pod, &fsmpb.SetMember{Member: &fsmpb.Member{NodeId: "n", RaftAddress: "r"}}, false},
		"waiting: its request":  {waiting, &fsmpb.Allocate{Pod: testPod("a", "1"), Keys: 1}, true},
		"waiting: the reason":   {waiting, &fsmpb.SetDepositStatus{Code: "no-money", Detail: "1"}, true},
		"waiting: the seed":     {waiting, &fsmpb.UpdateKeyring{Sealed: []byte("k"), Revision: 1, CurrentTerm: 2, OldestTerm: 1, Change: fsmpb.UpdateKeyring_CHANGE_ROTATE}, true}, // in one table with the seed
		"waiting: unrelated":    {waiting, &fsmpb.Tick{ElapsedMs: 1}, false},
		"work: a request":       {(*View).WatchWork, &fsmpb.Allocate{Pod: testPod("b", "1"), Keys: 1}, true},
		"work: nothing of it":   {(*View).WatchWork, &fsmpb.Tick{ElapsedMs: 1}, false},
		"secrets: the keyring":  {(*View).WatchSecrets, &fsmpb.UpdateKeyring{Sealed: []byte("k"), Revision: 1, CurrentTerm: 2, OldestTerm: 1, Change: fsmpb.UpdateKeyring_CHANGE_ROTATE}, true},
		"secrets: unrelated":    {(*View).WatchSecrets, &fsmpb.Tick{ElapsedMs: 1}, false},
		"members: one more":     {(*View).WatchMembers, &fsmpb.SetMember{Member: &fsmpb.Member{NodeId: "n", RaftAddress: "r"}}, true},
		"members: unrelated":    {(*View).WatchMembers, &fsmpb.UpdateKeyring{Sealed: []byte("k"), Revision: 1, CurrentTerm: 2, OldestTerm: 1, Change: fsmpb.UpdateKeyring_CHANGE_ROTATE}, false},
		"a refusal is no event": {(*View).WatchWork, &fsmpb.Allocate{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReplica(t)
			changes := x.watch(r.View())
			require.False(t, fired(changes))
			r.do(x.body)
			require.Equal(t, x.want, fired(changes))
		})
	}
}

func TestEveryWatchFiresOnRestore(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	v := r.View()
	all := []Changes{v.WatchPod("ns", "a"), v.WatchWaiting("ns", "a"), v.WatchWork(), v.WatchSecrets(), v.WatchMembers()}
	require.Error(t, r.Restore(bytes.NewReader(nil)))
	for _, changes := range all {
		require.False(t, fired(changes), "a restore that failed is none")
	}
	require.NoError(t, r.Restore(bytes.NewReader(snapshot(t, v))))
	for _, changes := range all {
		require.True(t, fired(changes))
	}
}
