package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestAuditIsChained(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(2)
	r.ask("a", "1", 2)
	r.free("a", proof(), 0)
	var before []byte
	seq := uint64(0)
	for a := range r.View().Audit(0) {
		seq++
		require.Equal(t, seq, a.GetSeq())
		require.Equal(t, auditHash(before, a), a.GetHash(), "record %d does not follow from the one before", seq)
		require.Equal(t, "tester", a.GetCaller().GetName())
		before = a.GetHash()
	}
	require.Equal(t, r.View().Meta().GetNextAudit(), seq)
	require.Greater(t, seq, uint64(8))
}

func TestAuditHashCoversEveryField(t *testing.T) {
	t.Parallel()
	a := &fsmpb.Audit{Seq: 1, Index: 2, WallMs: 3, Caller: &fsmpb.Caller{Name: "n", Role: "r", Remote: "a"}, RequestId: "q", Action: "x", Object: "o", Detail: "d"}
	seen := map[string]bool{string(auditHash(nil, a)): true, string(auditHash([]byte{0}, a)): true}
	changes := []func(*fsmpb.Audit){
		func(a *fsmpb.Audit) { a.Seq++ }, func(a *fsmpb.Audit) { a.Index++ }, func(a *fsmpb.Audit) { a.WallMs = -1 },
		func(a *fsmpb.Audit) { a.Caller.Name = "" }, func(a *fsmpb.Audit) { a.Caller.Role = "" }, func(a *fsmpb.Audit) { a.Caller.Remote = "" },
		func(a *fsmpb.Audit) { a.RequestId = "" }, func(a *fsmpb.Audit) { a.Action = "" }, func(a *fsmpb.Audit) { a.Object = "" },
		func(a *fsmpb.Audit) { a.Detail = "" }, func(a *fsmpb.Audit) { a.Object, a.Detail = "od", "" },
	}
	for i, change := range changes {
		b := proto.CloneOf(a)
		change(b)
		h := string(auditHash(nil, b))
		require.False(t, seen[h], "change %d leaves the hash as it is", i)
		seen[h] = true
	}
}

func TestAuditKeepsTheNewest(t *testing.T) {
	t.Parallel()
	m := New()
	w := beginWrite(m.store.Load().db, 1, 1)
	w.cmd = &fsmpb.Command{}
	for range 4 {
		w.record("act", "object", "")
	}
	w.meta.NextAudit = AuditKept - 2 // as if there had been as many
	for range 5 {
		w.record("act", "object", "")
	}
	w.commit()
	require.EqualValues(t, AuditKept+3, m.View().Meta().GetNextAudit())
	require.EqualValues(t, 4, m.View().Meta().GetFirstAudit(), "the first that is kept")
	var kept []uint64
	for a := range m.View().Audit(0) {
		kept = append(kept, a.GetSeq())
	}
	require.Equal(t, []uint64{4, AuditKept - 1, AuditKept, AuditKept + 1, AuditKept + 2, AuditKept + 3}, kept)
	for a := range m.View().Audit(AuditKept + 3) {
		require.EqualValues(t, AuditKept+3, a.GetSeq())
	}
}
