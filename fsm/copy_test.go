package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// fillMessage sets every field, so that a field which a copy forgets is missed.
func fillMessage(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.ContainingOneof() != nil && m.WhichOneof(f.ContainingOneof()) != nil {
			continue
		}
		if f.IsList() {
			list := m.Mutable(f).List()
			for range 2 {
				list.Append(fillValue(f, list.NewElement()))
			}
			continue
		}
		m.Set(f, fillValue(f, m.NewField(f)))
	}
}

func fillValue(f protoreflect.FieldDescriptor, empty protoreflect.Value) protoreflect.Value {
	n := uint64(f.Number()) + 1
	switch f.Kind() {
	case protoreflect.MessageKind:
		fillMessage(empty.Message())
		return empty
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(n)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(n))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(string(f.Name()))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(f.Name()))
	default:
		panic("a field of a kind that is new here: " + f.Kind().String())
	}
}

func TestCopiesForgetNothing(t *testing.T) {
	t.Parallel()
	key, request, allocation, deposit := &fsmpb.Key{}, &fsmpb.Request{}, &fsmpb.Allocation{}, &fsmpb.Deposit{}
	for _, x := range []struct {
		row  proto.Message
		copy func() proto.Message
	}{
		{key, func() proto.Message { return copyKey(key) }},
		{request, func() proto.Message { return copyRequest(request) }},
		{allocation, func() proto.Message { return copyAllocation(allocation) }},
		{deposit, func() proto.Message { return copyDeposit(deposit) }},
	} {
		fillMessage(x.row.ProtoReflect())
		require.Empty(t, emptyFields(x.row), "the test has to fill every field")
		require.True(t, proto.Equal(x.row, x.copy()), "%v\n%v", x.row, x.copy())
	}
}

func emptyFields(m proto.Message) (names []string) {
	fields := m.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if !m.ProtoReflect().Has(fields.Get(i)) {
			names = append(names, string(fields.Get(i).Name()))
		}
	}
	return names
}

func TestCopiesShareNoList(t *testing.T) {
	t.Parallel()
	request := &fsmpb.Request{Reserved: pubkeys(0, 2)}
	copyRequest(request).Reserved[0] = nil
	require.Equal(t, pubkeys(0, 2), request.GetReserved())
	allocation := &fsmpb.Allocation{Keys: pubkeys(0, 2)}
	copyAllocation(allocation).Keys[0] = nil
	require.Equal(t, pubkeys(0, 2), allocation.GetKeys())
	deposit := &fsmpb.Deposit{Attempts: []*fsmpb.Attempt{{Nonce: 1}}, Losses: []*fsmpb.Loss{{Nonce: 2}}}
	c := copyDeposit(deposit)
	c.Attempts[0], c.Losses[0] = nil, nil
	require.NotNil(t, deposit.GetAttempts()[0])
	require.NotNil(t, deposit.GetLosses()[0])
}
