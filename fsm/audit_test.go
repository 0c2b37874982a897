package fsm

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// records are the kept audit records behind a sequence number.
func records(v *View, after uint64) []audit.Record {
	var list []audit.Record
	for a := range v.Audit(after + 1) {
		list = append(list, AuditRecord(a))
	}
	return list
}

// of are the records with the action.
func of(list []audit.Record, action string) []audit.Record {
	var some []audit.Record
	for _, r := range list {
		if r.Action == action {
			some = append(some, r)
		}
	}
	return some
}

func TestAuditSaysWhoDidWhatWhere(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(2)
	c := command(r.term, 7, &fsmpb.Allocate{Pod: testPod("a", "u-1"), Keys: 2, Disclose: true})
	c.Caller = &fsmpb.Caller{Name: "init", Role: "operator", Remote: "192.0.2.7"}
	c.RequestId = "req-1"
	before := r.View().AuditHead().Seq
	require.NoError(t, r.apply(c)[0].Err())
	got := records(r.View(), before)
	require.Len(t, got, 3, "asked, granted, disclosed")
	for _, record := range got {
		require.Equal(t, map[string]string{"name": "init", "role": "operator", "remote": "192.0.2.7"}, record.Caller)
		require.Equal(t, []any{"ns/a", "req-1", audit.OutcomeDone, r.index, r.term, int64(7), uint32(audit.Version)},
			[]any{record.Object, record.RequestID, record.Outcome, record.Index, record.Term, record.WallMs, record.Version})
	}
	fence := r.View().Allocation("ns", "a").GetFence()
	disclosed := of(got, "key.disclose")
	require.Len(t, disclosed, 1)
	require.Equal(t, "2 keys, UID u-1, fence "+itoa(fence), disclosed[0].Detail)
}

func itoa(n uint64) string { return strings.TrimSuffix(plural(int(n), ""), " s") }

// TestDutiesAreNamedWithTheirNode: a duty has no address of its own.
func TestDutiesAreNamedWithTheirNode(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	c := command(r.term, 1, &fsmpb.SetSpareKeys{Keys: 3})
	c.Caller = &fsmpb.Caller{Name: "deposits", Role: "duty"}
	require.NoError(t, r.apply(c)[0].Err())
	last := records(r.View(), r.View().AuditHead().Seq-1)[0]
	require.Equal(t, map[string]string{"name": "deposits", "role": "duty", "remote": "n1"}, last.Caller)
	require.Empty(t, c.GetCaller().GetRemote(), "the command stays as it is")
}

// TestCallersOfOneEntryAreToldApart: the records of an entry share callers, and each has
// its own command's, with every field of the protocol.
func TestCallersOfOneEntryAreToldApart(t *testing.T) {
	t.Parallel()
	all := &fsmpb.Caller{Remote: "192.0.2.1"} // else that of the session
	callers := []*fsmpb.Caller{nil, {}, all, proto.CloneOf(all)}
	fields := all.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		c := proto.CloneOf(all)
		c.ProtoReflect().Set(fields.Get(i), protoreflect.ValueOfString("other "+string(fields.Get(i).Name())))
		callers = append(callers, c, c, all)
	}
	r := newReplica(t)
	before := r.View().AuditHead().Seq
	var commands []*fsmpb.Command
	for n, caller := range callers {
		c := command(r.term, 1, &fsmpb.SetSpareKeys{Keys: uint32(n) + 1})
		c.Caller = caller
		commands = append(commands, c)
	}
	for _, result := range r.apply(commands...) {
		require.NoError(t, result.Err())
	}
	got := records(r.View(), before)
	require.Len(t, got, len(callers))
	for n, caller := range callers {
		want := proto.CloneOf(caller)
		if want == nil {
			want = &fsmpb.Caller{}
		}
		if want.GetRemote() == "" {
			want.Remote = "n1"
		}
		require.Equal(t, callerText(want), got[n].Caller, "command %d", n)
	}
	require.Equal(t, got, slices.Collect(r.View().AuditRecords(before+1)))
}

// TestEveryFieldOfARecordIsHashed walks the protocol: whatever is added to an
// audit record or to a caller changes the hash, or this fails.
func TestEveryFieldOfARecordIsHashed(t *testing.T) {
	t.Parallel()
	full := &fsmpb.Audit{Version: audit.Version}
	seen := map[string]string{}
	look := func(name string, a *fsmpb.Audit) {
		sum, err := AuditRecord(a).Sum(nil)
		require.NoError(t, err, name)
		require.Empty(t, seen[string(sum)], "%s is not part of the hash", name)
		seen[string(sum)] = name
	}
	look("nothing", full)
	walk := func(name string, m protoreflect.Message, base func() (*fsmpb.Audit, protoreflect.Message)) {
		for i := range m.Descriptor().Fields().Len() {
			f := m.Descriptor().Fields().Get(i)
			if n := f.Name(); n == "hash" || n == "version" || n == "caller" {
				continue
			}
			a, at := base()
			if f.IsList() {
				list := at.Mutable(f).List()
				list.Append(fillValue(f, list.NewElement()))
			} else {
				at.Set(f, fillValue(f, at.NewField(f)))
			}
			look(name+string(f.Name()), a)
		}
	}
	walk("", full.ProtoReflect(), func() (*fsmpb.Audit, protoreflect.Message) {
		a := &fsmpb.Audit{Version: audit.Version}
		return a, a.ProtoReflect()
	})
	walk("caller.", (&fsmpb.Caller{}).ProtoReflect(), func() (*fsmpb.Audit, protoreflect.Message) {
		a := &fsmpb.Audit{Version: audit.Version, Caller: &fsmpb.Caller{}}
		return a, a.Caller.ProtoReflect()
	})
	require.Len(t, callerFields(nil), (&fsmpb.Caller{}).ProtoReflect().Descriptor().Fields().Len(),
		"a field of a caller is missing in callerFields")
}

func TestAuditKeepsTheNewest(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	first := r.View().AuditHead().Seq
	w := beginWrite(r.store.Load().db, r.index, r.term)
	w.meta.AuditKept = 5
	w.commit()
	for n := range uint32(12) {
		r.ok(&fsmpb.SetSpareKeys{Keys: n + 1})
	}
	kept := records(r.View(), 0)
	require.Len(t, kept, 5)
	require.Equal(t, first+12, kept[4].Seq)
	require.Equal(t, audit.Head{Seq: first + 12, Hash: kept[4].Hash}, r.View().AuditHead())
	anchor := r.View().AuditAnchor()
	require.Equal(t, kept[0].Seq-1, anchor.Seq)
	sum, err := kept[0].Sum(anchor.Hash)
	require.NoError(t, err)
	require.Equal(t, kept[0].Hash, sum, "the oldest follows from the anchor")
	require.NoError(t, r.View().Check())
	require.Nil(t, r.View().AuditBy(anchor.Seq))

	w = beginWrite(r.store.Load().db, r.index, r.term) // a record that was changed is noticed
	changed := proto.CloneOf(r.View().AuditBy(kept[2].Seq))
	changed.Detail += "."
	mustInsert(w.txn, tableAudit, changed)
	w.commit()
	require.ErrorContains(t, r.View().Check(), "broken at record")
}

// TestOldEntriesLeaveOldRecords: what was written before there were versions is
// decided as it was, on every node and after every restart.
func TestOldEntriesLeaveOldRecords(t *testing.T) {
	t.Parallel()
	old := &replica{Machine: New(), t: t, term: 1}
	run := func(version uint32, body proto.Message) {
		c := command(1, 3, body)
		c.Version = version
		old.apply(c)
	}
	run(1, &fsmpb.BeginSession{NodeId: "n1", NewClusterId: "c"})
	require.Zero(t, old.View().AuditHead().Seq, "a session left no record")
	run(1, &fsmpb.InstallSeed{Sealed: []byte("s"), Fingerprint: "f"})
	run(1, &fsmpb.InstallSeed{Sealed: []byte("s"), Fingerprint: "other"})
	run(1, &fsmpb.Allocate{Pod: testPod("a", "1"), Keys: 2})
	got := records(old.View(), 0)
	require.Len(t, got, 2, "a refusal left no record")
	require.Equal(t, "2 keys", got[1].Detail)
	require.Zero(t, got[1].Version)
	// The bytes of this hash were computed by the code that had version 0 only.
	require.Equal(t, "0x230cb991d1b680211ab2bad449ad802dfe10916275d710c2d4abd85331271b5d", got[1].Hash.String())
	run(CommandVersion, &fsmpb.SetSpareKeys{Keys: 1})
	require.Len(t, records(old.View(), 0), 3, "old and new are one chain")
	require.NoError(t, old.View().Check())
}

// TestOldStatesThatDroppedRecordsAreKept: the oldest record of such a state has
// no anchor, and the chain is good from there on.
func TestOldStatesThatDroppedRecordsAreKept(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	w := beginWrite(r.store.Load().db, r.index, r.term)
	w.cmd = &fsmpb.Command{Version: 1}
	w.dropAudit()
	w.commit()
	require.Equal(t, audit.Head{Seq: 1}, r.View().AuditAnchor())
	require.NoError(t, r.View().Check())
	w = beginWrite(r.store.Load().db, r.index, r.term)
	w.cmd = &fsmpb.Command{Version: CommandVersion}
	w.dropAudit()
	w.commit()
	require.NotEmpty(t, r.View().AuditAnchor().Hash)
	require.NoError(t, r.View().Check())
}
