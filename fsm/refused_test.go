package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestRefusalsAreRecordedOnce(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(1)
	r.ask("a", "1", 1)
	before := r.View().AuditHead().Seq
	stale := &fsmpb.Release{Namespace: "ns", Pod: "a", Fence: 999}
	for range 50 {
		r.refused(StaleFence, stale)
	}
	got := records(r.View(), before)
	require.Len(t, got, 1, "a repeat is none")
	require.Equal(t, []string{"allocation.release", "ns/a", audit.Refused("stale-fence"), "tester"},
		[]string{got[0].Action, got[0].Object, got[0].Outcome, got[0].Caller[audit.CallerName]})
	require.EqualValues(t, 49, r.View().Meta().GetAuditLeftOut())
	r.refused(NotFound, &fsmpb.Release{Namespace: "ns", Pod: "nobody", Fence: 1})
	got = records(r.View(), before)
	require.Len(t, got, 2)
	require.Contains(t, got[1].Detail, "49 earlier refusals left out; ")
	require.Zero(t, r.View().Meta().GetAuditLeftOut())
	require.NoError(t, r.View().Check())
}

// TestRefusalsCanNotFlood: whoever thinks of a new name each time gets no
// further than the bounds, and is forgotten with time.
func TestRefusalsCanNotFlood(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	before := r.View().AuditHead().Seq
	for i := range 1000 {
		r.do(&fsmpb.Release{Namespace: "ns", Pod: "p" + itoa(uint64(i)), Fence: 1})
	}
	require.Len(t, records(r.View(), before), refusalsAtOnce)
	r.ok(&fsmpb.Tick{ElapsedMs: refusalEveryMS - 1})
	r.refused(NotFound, &fsmpb.Release{Namespace: "ns", Pod: "x", Fence: 1})
	require.Len(t, records(r.View(), before), refusalsAtOnce)
	r.ok(&fsmpb.Tick{ElapsedMs: 1})
	r.refused(NotFound, &fsmpb.Release{Namespace: "ns", Pod: "y", Fence: 1})
	r.refused(NotFound, &fsmpb.Release{Namespace: "ns", Pod: "z", Fence: 1})
	got := records(r.View(), before)
	require.Len(t, got, refusalsAtOnce+1, "a minute gives back one place")
	require.Contains(t, got[refusalsAtOnce].Detail, "901 earlier refusals left out")
}

func TestRefusalsThatAreNoNews(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	before := r.View().AuditHead().Seq
	r.refused(PoolShort, &fsmpb.Allocate{Pod: testPod("a", "1"), Keys: 1, PoolOnly: true})
	r.apply(command(r.term+1, 1, &fsmpb.SetSpareKeys{Keys: 1})) // of a session that is over
	for _, role := range []string{"duty", "member"} {
		c := command(r.term, 1, &fsmpb.SignDeposits{})
		c.Caller.Role = role
		require.ErrorIs(t, r.apply(c)[0].Err(), Refused(NotFound))
	}
	c := command(r.term, 1, &fsmpb.SignDeposits{})
	c.Caller = nil
	require.ErrorIs(t, r.apply(c)[0].Err(), Refused(NotFound))
	require.Empty(t, records(r.View(), before))
}

// Somebody else of the same name is somebody else.
func TestRefusalsOfNamesakes(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	before := r.View().AuditHead().Seq
	callers := []*fsmpb.Caller{
		{Name: "ci", Role: "operator", Remote: "r"},
		{Name: "ci", Role: "operator", Remote: "r", Method: "token", Credential: "1"},
		{Name: "ci", Role: "operator", Remote: "r", Method: "token", Credential: "2"},
		{Name: "ci", Role: "operator", Remote: "r", Method: "certificate", Credential: "1"},
	}
	for range 3 {
		for _, by := range callers {
			c := command(r.term, 1, &fsmpb.Release{Namespace: "ns", Pod: "a", Fence: 9})
			c.Caller = by
			require.ErrorIs(t, r.apply(c)[0].Err(), Refused(NotFound))
		}
	}
	require.Len(t, records(r.View(), before), len(callers))
}
