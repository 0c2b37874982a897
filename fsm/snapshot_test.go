package fsm

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// furnished has at least one row in every table and every kind of waiting.
func furnished(t rapid.TB) *replica {
	t.Helper()
	r := newReplica(t)
	r.ok(&fsmpb.SetMember{Member: &fsmpb.Member{NodeId: "n1", RaftAddress: "r"}})
	r.ok(&fsmpb.SetDepositStatus{Code: "c", Detail: "d"})
	r.stock(4)
	r.ask("a", "1", 2)
	r.free("a", proof(), 500)
	r.ask("a", "2", 3)
	r.ask("b", "1", 1)
	r.generate(5)
	keys := r.ask("c", "1", 4).Request.GetReserved()
	r.sign(keys[1], keys[2])
	r.observe(lost, keys[1])
	r.observe(mined, keys[2])
	r.bring(pubkey(1<<20), pubkey(1<<20+1))
	r.confirm(pubkey(1<<20), 500)
	r.retire(RetiredOperator, lowest[*fsmpb.Key](r.View().txn, tableKeys, indexSpare).GetPubkey())
	r.ok(&fsmpb.ObserveValidators{Validators: []*fsmpb.Validator{{
		Pubkey: r.View().Allocation("ns", "b").GetKeys()[0], Status: "active_ongoing", Index: 7, EffectiveBalanceGwei: 32e9,
	}}})
	r.describe("p", "c", "r")
	r.act(instantiate, "p", "c")
	r.giveKey("p", "c", "r")
	r.describe("p", "d", "r")
	r.act(instantiate, "p", "d")
	r.issue("p", "d", "r")
	r.put(testQuota("p", "d", "q"))
	r.put(testKeyValues("p", "d", "w"))
	return r
}

func TestRestoreGivesTheSameState(t *testing.T) {
	t.Parallel()
	r := furnished(t)
	snap := snapshot(t, r.View())
	for name, m := range map[string]*Machine{"fresh": New(), "dirty": furnished(t).Machine} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dirt := &replica{Machine: m, t: t, term: 9}
			dirt.ok(&fsmpb.BeginSession{})
			dirt.ok(&fsmpb.SetMember{Member: &fsmpb.Member{NodeId: "stray", RaftAddress: "r"}})
			require.NoError(t, m.Restore(iotest.OneByteReader(bytes.NewReader(snap))))
			require.Equal(t, r.View().Hash(), m.View().Hash())
			require.NoError(t, m.View().Check())
			require.Equal(t, snap, snapshot(t, m.View()))
			require.Nil(t, m.View().Member("stray"))
		})
	}
}

func TestRestoreRefusesDamage(t *testing.T) {
	t.Parallel()
	snap := snapshot(t, furnished(t).View())
	m := furnished(t).Machine
	want := m.View().Hash()
	check := func(data []byte) {
		t.Helper()
		require.ErrorIs(t, m.Restore(bytes.NewReader(data)), ErrDamaged)
		require.Equal(t, want, m.View().Hash(), "the old state stays")
	}
	check(nil)
	for n := 0; n < len(snap)-1; n += 1 + n/8 {
		check(snap[:n])
	}
	for i := 0; i < len(snap); i += 1 + len(snap)/400 {
		bad := bytes.Clone(snap)
		bad[i] ^= 1 << (i % 8)
		check(bad)
	}
}

// resealed is a stream of these records with a right trailer.
func resealed(t *testing.T, records ...*fsmpb.Record) []byte {
	t.Helper()
	var buf bytes.Buffer
	for _, r := range records {
		_, err := protodelim.MarshalTo(&buf, r)
		require.NoError(t, err)
	}
	sum := sumOf(buf.Bytes())
	_, err := protodelim.MarshalTo(&buf, &fsmpb.Record{Record: &fsmpb.Record_Trailer{
		Trailer: &fsmpb.Trailer{Records: uint64(len(records)), Sha256: sum},
	}})
	require.NoError(t, err)
	return buf.Bytes()
}

func TestRestoreRefusesRowsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	head := &fsmpb.Record{Record: &fsmpb.Record_Header{Header: &fsmpb.Header{Format: SnapshotFormat}}}
	meta := &fsmpb.Record{Record: &fsmpb.Record_Meta{Meta: emptyMeta()}}
	require.NoError(t, New().Restore(bytes.NewReader(resealed(t, head, meta))))
	key := func(k *fsmpb.Key) *fsmpb.Record { return &fsmpb.Record{Record: &fsmpb.Record_Key{Key: k}} }
	deposit := func(d *fsmpb.Deposit) *fsmpb.Record {
		return &fsmpb.Record{Record: &fsmpb.Record_Deposit{Deposit: d}}
	}
	short := emptyMeta()
	short.KeyCounts = short.GetKeyCounts()[1:]
	for name, records := range map[string][]*fsmpb.Record{
		"nothing":             {},
		"no header":           {meta},
		"newer format":        {{Record: &fsmpb.Record_Header{Header: &fsmpb.Header{Format: SnapshotFormat + 1}}}, meta},
		"no counters":         {head},
		"short counters":      {head, {Record: &fsmpb.Record_Meta{Meta: short}}},
		"two headers":         {head, head, meta},
		"empty record":        {head, meta, {}},
		"key without name":    {head, meta, key(&fsmpb.Key{State: 1})},
		"key without state":   {head, meta, key(&fsmpb.Key{Pubkey: pubkey(1)})},
		"key in a new state":  {head, meta, key(&fsmpb.Key{Pubkey: pubkey(1), State: 77})},
		"negative state":      {head, meta, key(&fsmpb.Key{Pubkey: pubkey(1), State: -1})},
		"deposit of nothing":  {head, meta, deposit(&fsmpb.Deposit{State: 1})},
		"deposit in no state": {head, meta, deposit(&fsmpb.Deposit{Pubkey: pubkey(1), State: 300})},
		"pod without name":    {head, meta, {Record: &fsmpb.Record_Allocation{Allocation: &fsmpb.Allocation{State: 1}}}},
		"request of nobody":   {head, meta, {Record: &fsmpb.Record_Request{Request: &fsmpb.Request{}}}},
		"member without name": {head, meta, {Record: &fsmpb.Record_Member{Member: &fsmpb.Member{}}}},
		"secret without name": {head, meta, {Record: &fsmpb.Record_Secret{Secret: &fsmpb.Secret{}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorIs(t, New().Restore(bytes.NewReader(resealed(t, records...))), ErrDamaged)
		})
	}
}

func TestRestoreTellsAFailedReadFromDamage(t *testing.T) {
	t.Parallel()
	snap := snapshot(t, furnished(t).View())
	broken := errors.New("disk on fire")
	in := io.MultiReader(bytes.NewReader(snap[:len(snap)/2]), iotest.ErrReader(broken))
	err := New().Restore(in)
	require.ErrorIs(t, err, broken)
	require.NotErrorIs(t, err, ErrDamaged)
}

func TestWriteToReportsAFullDisk(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	for limit := range 60 {
		w := &limitedWriter{left: limit, err: full}
		_, err := New().View().WriteTo(w)
		require.ErrorIs(t, err, full)
	}
}

type limitedWriter struct {
	left int
	err  error
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return 0, w.err
	}
	w.left -= len(p)
	return len(p), nil
}

// TestLargestRowsFitASnapshot: what commands can make, a restore can read.
func TestLargestRowsFitASnapshot(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("x", maxName)
	p := &fsmpb.Pod{Namespace: name, Name: name, Uid: name}
	require.Less(t, proto.Size(&fsmpb.Request{Pod: p, Reserved: pubkeys(0, MaxKeysPerPod)}), maxRecord)
	require.Less(t, proto.Size(&fsmpb.Allocation{Pod: p, Keys: pubkeys(0, MaxKeysPerPod)}), maxRecord)

	r := newReplica(t)
	r.ok(&fsmpb.Allocate{Pod: p, Keys: MaxKeysPerPod})
	r.ok(&fsmpb.SetMember{Member: &fsmpb.Member{NodeId: "n", RaftAddress: strings.Repeat("x", maxCommand-1000)}})
	m := New()
	require.NoError(t, m.Restore(bytes.NewReader(snapshot(t, r.View()))))
	require.Equal(t, r.View().Hash(), m.View().Hash())
}
