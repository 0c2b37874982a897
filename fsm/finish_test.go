package fsm

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// rewritten is a backup with a changed counter, under a trailer that is right again.
func rewritten(t *testing.T, v *View, change func(*fsmpb.Meta)) []byte {
	t.Helper()
	var b bytes.Buffer
	in := bufio.NewReader(bytes.NewReader(snapshot(t, v)))
	for n := uint64(0); ; n++ {
		rec := &fsmpb.Record{}
		require.NoError(t, protodelim.UnmarshalFrom(in, rec))
		if rec.GetMeta() != nil {
			change(rec.GetMeta())
		}
		end := rec.GetTrailer() != nil
		if end {
			rec = &fsmpb.Record{Record: &fsmpb.Record_Trailer{Trailer: &fsmpb.Trailer{Records: n, Sha256: sumOf(b.Bytes())}}}
		}
		_, err := protodelim.MarshalTo(&b, rec)
		require.NoError(t, err)
		if end {
			return b.Bytes()
		}
	}
}

// What depends on the version of the program is decided before the restore is proposed,
// and never in Apply: replicas of two versions would differ.
func TestWhatIsDecidedBeforeARestore(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(1)
	at := r.View().Meta().GetAppliedIndex()
	good := snapshot(t, r.View())
	odd := rewritten(t, r.View(), func(m *fsmpb.Meta) { m.AuditAnchor = []byte{1} })
	newer := rewritten(t, r.View(), func(m *fsmpb.Meta) { m.FeatureLevel = FeatureLevel + 1 })

	require.NoError(t, CheckBackup(bytes.NewReader(good), "c", at, FeatureLevel))
	require.ErrorIs(t, CheckBackup(bytes.NewReader(good), "d", at, FeatureLevel), Refused(DamagedBackup))
	require.ErrorIs(t, CheckBackup(bytes.NewReader(good), "c", at+1, FeatureLevel), Refused(DamagedBackup))
	require.ErrorIs(t, CheckBackup(bytes.NewReader(good), "c", at, FeatureLevel-1), Refused(FeatureRefused))
	require.ErrorIs(t, CheckBackup(bytes.NewReader(good[:len(good)-1]), "c", at, FeatureLevel), ErrDamaged)
	require.ErrorIs(t, CheckBackup(bytes.NewReader(newer), "c", at, FeatureLevel), ErrUnknownCommand)
	err := CheckBackup(bytes.NewReader(odd), "c", at, FeatureLevel)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "contradicts itself")
}

// A later version may find fault with a state that an earlier one takes, or the other way
// round. Both come to the same: what the leader let through is restored.
func TestApplyDoesNotJudgeABackup(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	data := rewritten(t, r.View(), func(m *fsmpb.Meta) { m.AuditAnchor = []byte{1} }) // which Check finds
	m := New()
	require.NoError(t, m.Restore(bytes.NewReader(data)))
	require.Error(t, m.View().Check())
	r.ok(&fsmpb.StageRestore{RestoreId: "a", Data: data})
	res := r.do(&fsmpb.FinishRestore{RestoreId: "a", Sha256: sumOf(data), Index: m.View().Meta().GetAppliedIndex(), ClusterId: "c", Force: true})
	require.NoError(t, res.Err())
}

// A node whose program can not read what the leader's could stops, as with any entry of a
// newer version. Refusing it would make it differ from the others.
func TestABackupThatThisNodeCanNotRead(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	for name, data := range map[string][]byte{
		"garbage": []byte("onetwo"),
		"newer":   rewritten(t, r.View(), func(m *fsmpb.Meta) { m.FeatureLevel = FeatureLevel + 1 }),
	} {
		r := newReplica(t)
		r.ok(&fsmpb.StageRestore{RestoreId: "a", Data: data})
		before := r.View().Hash()
		finish := &fsmpb.FinishRestore{RestoreId: "a", Sha256: sumOf(data), ClusterId: "c", Force: true}
		results, err := r.Apply(r.index+1, r.term, entry(t, command(r.term, 1, &fsmpb.SetSpareKeys{Keys: 1}), command(r.term, 1, finish)))
		require.Error(t, err, name)
		require.Nil(t, results)
		require.Equal(t, before, r.View().Hash(), "nothing was changed")
	}
}
