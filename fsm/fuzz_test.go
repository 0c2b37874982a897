package fsm

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// FuzzApply: whatever stands in an entry, the machine answers or stops, and
// what it then holds is sound.
func FuzzApply(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0xff})
	pod := testPod("a", "1")
	for _, body := range []proto.Message{
		&fsmpb.BeginSession{NodeId: "n"}, &fsmpb.Tick{ElapsedMs: 1}, &fsmpb.SetMember{}, &fsmpb.RemoveMember{NodeId: "n1"},
		&fsmpb.InstallKeyring{Sealed: []byte{1}}, &fsmpb.InstallSeed{}, &fsmpb.Allocate{Pod: pod, Keys: 2, Disclose: true},
		&fsmpb.Release{Namespace: "ns", Pod: "b", Fence: 3, Proof: proof()}, &fsmpb.GenerateKeys{FirstIndex: 9, Pubkeys: pubkeys(9, 2)},
		&fsmpb.OpenAccount{Account: testAccount(2)}, &fsmpb.SetDepositStatus{Code: "c"},
		&fsmpb.SignDeposits{ChainId: 1, Account: testAccount(1).GetAddress(), Deposits: []*fsmpb.SignedDeposit{signed(11, pubkey(4))}},
		&fsmpb.ObserveDeposits{Observations: []*fsmpb.Observation{{Pubkey: pubkey(6), Kind: lost, TxHash: hash32(10, 9)}}},
		&fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{{Pubkey: pubkey(8), Sealed: []byte{1}}}},
		&fsmpb.ConfirmStopped{Pubkey: pubkey(1<<20 + 1), Fence: 9, Proof: proof()},
		&fsmpb.RetireKeys{Pubkeys: pubkeys(0, 8), Reason: RetiredExited},
		&fsmpb.ObserveValidators{Validators: []*fsmpb.Validator{{Pubkey: pubkey(0), Status: "active_ongoing"}}},
	} {
		f.Add(entry(f, command(1, 1, body), command(1, 1, &fsmpb.Allocate{Pod: pod, Keys: 1})))
	}
	snap := snapshot(f, furnished(f).View())
	f.Fuzz(func(t *testing.T, data []byte) {
		m := New()
		require.NoError(t, m.Restore(bytes.NewReader(snap)))
		before := m.View().Hash()
		results, err := m.Apply(99, 1, data)
		if err != nil {
			require.Nil(t, results)
			require.Equal(t, before, m.View().Hash())
			return
		}
		require.NoError(t, m.View().Check())
		require.NoError(t, New().Restore(bytes.NewReader(snapshot(t, m.View()))))
	})
}

// FuzzCommands fills well-formed batches with anything at all.
func FuzzCommands(f *testing.F) { f.Fuzz(rapid.MakeFuzz(anyCommands)) }

func TestAnyCommands(t *testing.T) {
	t.Parallel()
	rapid.Check(t, anyCommands)
}

func anyCommands(t *rapid.T) {
	r := furnished(t)
	for range rapid.IntRange(1, 4).Draw(t, "entries") {
		batch := &fsmpb.Batch{}
		for range rapid.IntRange(1, 3).Draw(t, "commands") {
			c := &fsmpb.Command{}
			drawMessage(t, c.ProtoReflect(), 0)
			c.Version, c.Session = CommandVersion, 1
			if f := c.GetRaiseFeatureLevel(); f != nil {
				f.Level = min(f.GetLevel(), FeatureLevel) // a higher one stops the node, as it should
			}
			if c.GetBody() != nil {
				batch.Commands = append(batch.Commands, c)
			}
		}
		data, err := proto.Marshal(batch)
		require.NoError(t, err)
		r.index++
		_, err = r.Apply(r.index, 1, data)
		require.NoError(t, err)
		require.NoError(t, r.View().Check())
	}
	require.NoError(t, New().Restore(bytes.NewReader(snapshot(t, r.View()))))
}

// drawMessage sets some fields to likely values and some to absurd ones.
func drawMessage(t *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range m.Descriptor().Oneofs().Len() {
		oneof := m.Descriptor().Oneofs().Get(i)
		f := oneof.Fields().Get(rapid.IntRange(0, oneof.Fields().Len()-1).Draw(t, "kind"))
		drawMessage(t, m.Mutable(f).Message(), depth+1)
	}
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.ContainingOneof() != nil || oneIn(t, 8, "unset"):
		case f.IsMap():
			labels := m.Mutable(f).Map()
			for range rapid.IntRange(0, 2).Draw(t, "len") {
				key := rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "key")
				labels.Set(protoreflect.ValueOfString(key).MapKey(), protoreflect.ValueOfString(key))
			}
		case f.IsList():
			list := m.Mutable(f).List()
			for range rapid.IntRange(0, 3).Draw(t, "len") {
				list.Append(drawValue(t, f, list.NewElement(), depth))
			}
		default:
			m.Set(f, drawValue(t, f, m.NewField(f), depth))
		}
	}
}

func drawValue(t *rapid.T, f protoreflect.FieldDescriptor, empty protoreflect.Value, depth int) protoreflect.Value {
	number := rapid.SampledFrom([]uint64{0, 1, 2, 3, 4, 5, 8, 9, 11, 12, 1 << 31, 1<<32 - 1, 1 << 62, 1<<64 - 1})
	switch f.Kind() {
	case protoreflect.MessageKind:
		drawMessage(t, empty.Message(), depth+1)
		return empty
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.SampledFrom([]int32{0, 1, 2, 3, 4, 5, 6, -1, 1 << 30}).Draw(t, "enum")))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(number.Draw(t, "uint32")))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(number.Draw(t, "uint64"))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(number.Draw(t, "int64")))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.SampledFrom([]string{"", "a", "b", "c", "ns", "1", "2", "/", "\x00", "ns\x00a", "a/b", "é", RetiredSlashed}).Draw(t, "string"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(rapid.SampledFrom([][]byte{
			nil,
			{0},
			pubkey(0), pubkey(4), pubkey(5), pubkey(6), pubkey(7), pubkey(8), pubkey(9),
			testAccount(1).GetAddress(), hash32(1), hash32(4), hash32(10, 9), hash32(9, 9), make([]byte, PubkeyLength),
		}).Draw(t, "bytes"))
	default:
		panic("a field of a kind that is new here: " + f.Kind().String())
	}
}

// FuzzRestore: whatever is in a stream, it is refused or gives a state that can
// be read, written and applied to.
func FuzzRestore(f *testing.F) {
	f.Add(snapshot(f, New().View()))
	f.Add(snapshot(f, furnished(f).View()))
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		m := New()
		if err := m.Restore(bytes.NewReader(data)); err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			return
		}
		_ = m.View().Check()
		again := New()
		require.NoError(t, again.Restore(bytes.NewReader(snapshot(t, m.View()))))
		require.Equal(t, m.View().Hash(), again.View().Hash())
	})
}
