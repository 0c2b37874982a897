package fsm

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// TestPackedDeposits: what is packed is what was put in, and its indexes have the keys
// that they would have without it.
func TestPackedDeposits(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	keys := r.stock(3)
	d := proto.CloneOf(r.View().Deposit(keys[1]))
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_FINAL, d.GetState())
	packed, ok := pack(d).(*packedDeposit)
	require.True(t, ok)
	require.True(t, proto.Equal(d, unpack(packed).(proto.Message))) //nolint:forcetypeassert // a deposit
	for name, x := range depositTable().Indexes {
		in, key, err := x.Indexer.FromObject(d)
		require.NoError(t, err)
		packedIn, packedKey, err := x.Indexer.FromObject(packed)
		require.NoError(t, err)
		require.Equal(t, in, packedIn, name)
		require.Equal(t, key, packedKey, name)
	}
	d.State = fsmpb.DepositState_DEPOSIT_STATE_MINED
	require.Same(t, d, pack(d), "only what is final is packed")

	raw, err := r.View().txn.First(tableDeposits, indexID, keys[1])
	require.NoError(t, err)
	require.IsType(t, &packedDeposit{}, raw)
	restored := New()
	require.NoError(t, restored.Restore(bytes.NewReader(snapshot(t, r.View()))))
	raw, err = restored.View().txn.First(tableDeposits, indexID, keys[1])
	require.NoError(t, err)
	require.IsType(t, &packedDeposit{}, raw)
}

// anyDeposit draws a deposit in which every field may be absent.
func anyDeposit(t *rapid.T) *fsmpb.Deposit {
	bytesOf := func(name string, lengths ...int) []byte {
		if n := rapid.SampledFrom(lengths).Draw(t, name); n > 0 {
			return bytes.Repeat([]byte{9}, n)
		}
		return nil
	}
	number := func(name string) uint64 { return rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64()).Draw(t, name) }
	d := &fsmpb.Deposit{
		Pubkey: bytesOf("pubkey", 48, 48, 48, 48, 0, 47, 200), State: fsmpb.DepositState_DEPOSIT_STATE_FINAL, Seq: number("seq"), AmountGwei: number("amount"),
		Credentials: bytesOf("credentials", 0, 32), Signature: bytesOf("signature", 0, 96), ChainId: number("chain"), Account: bytesOf("account", 0, 20),
		BlockNumber: number("block"), BlockHash: bytesOf("hash", 0, 32), TxHash: bytesOf("tx", 0, 32, 300), SignedAtMs: number("at"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "attempts") {
		d.Attempts = append(d.Attempts, &fsmpb.Attempt{
			Nonce: number("nonce"), TxHash: bytesOf("attempt", 0, 32), Raw: bytesOf("raw", 0, 650), FeeCapWei: number("cap"), TipWei: number("tip"),
			HeadBlock: number("head"), FinalBlock: number("final"),
		})
	}
	if rapid.IntRange(0, 9).Draw(t, "lost") == 0 {
		d.Losses = []*fsmpb.Loss{{Nonce: 1, Reason: "r"}}
	}
	if rapid.IntRange(0, 9).Draw(t, "open") == 0 {
		d.State = fsmpb.DepositState_DEPOSIT_STATE_SENT
	}
	return d
}

// TestPackedWithoutDecoding: what is taken as it is encoded is what comes of decoding and
// packing it, and nothing that is encoded in another way is taken.
func TestPackedWithoutDecoding(t *testing.T) {
	t.Parallel()
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		d := anyDeposit(t)
		encoded, err := marshal.Marshal(d)
		require.NoError(t, err)
		p := packedOf(encoded)
		if want, ok := pack(d).(*packedDeposit); ok && len(d.GetLosses()) == 0 {
			require.Equal(t, want, p)
			taken++
		} else {
			require.Nil(t, p)
		}
		switch at := rapid.IntRange(0, len(encoded)).Draw(t, "at"); rapid.IntRange(0, 2).Draw(t, "damage") {
		case 0:
			encoded = encoded[:at]
		case 1:
			encoded = slices.Insert(encoded, at, rapid.SliceOfN(rapid.Byte(), 1, 3).Draw(t, "more")...)
		default:
			encoded = append(encoded, encoded[:at]...)
		}
		if p = packedOf(encoded); p != nil {
			again := pack(unpack(p))
			require.Equal(t, p, again)
		}
	})
	require.Positive(t, taken)
}

// TestPackedInOneWay: encodings that say the same as a final deposit, in other ways.
func TestPackedInOneWay(t *testing.T) {
	t.Parallel()
	encoded, err := marshal.Marshal(&fsmpb.Deposit{Pubkey: make([]byte, PubkeyLength), State: fsmpb.DepositState_DEPOSIT_STATE_FINAL, Seq: 7})
	require.NoError(t, err)
	require.NotNil(t, packedOf(encoded))
	for name, other := range map[string][]byte{
		"a long number":     append(bytes.Clone(encoded[:len(encoded)-1]), 0x87, 0),
		"a zero":            append(bytes.Clone(encoded), 4<<3, 0),
		"a field twice":     append(bytes.Clone(encoded), 3<<3, 7),
		"another order":     append(bytes.Clone(encoded[len(encoded)-2:]), encoded[:len(encoded)-2]...),
		"an unknown field":  append(bytes.Clone(encoded), 21<<3&0x7f|0x80, 1, 7),
		"a field of 15":     append(bytes.Clone(encoded), 15<<3, 7),
		"another wire type": append(bytes.Clone(encoded), 4<<3|1, 1, 2, 3, 4, 5, 6, 7, 8),
		"an empty text":     append(bytes.Clone(encoded), 5<<3|2, 0),
		"a long tag":        append(bytes.Clone(encoded), 4<<3|0x80, 0, 7),
		"a long length":     append(bytes.Clone(encoded), 5<<3|2, 0x81, 0, 9),
		"a damaged attempt": append(bytes.Clone(encoded), 9<<3|2, 1, 0xff),
	} {
		require.Nil(t, packedOf(other), name)
	}
}

// TestRestoredRowsShare: a restored state takes no more memory than the one before.
func TestRestoredRowsShare(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(3)
	keys := r.ask("a", "1", 2).Allocation.GetKeys()
	restored := New()
	require.NoError(t, restored.Restore(bytes.NewReader(snapshot(t, r.View()))))
	require.Equal(t, r.View().Hash(), restored.View().Hash())
	v := restored.View()
	require.Same(t, v.Key(keys[0]).GetHolder(), v.Key(keys[1]).GetHolder())
	require.Same(t, &v.Key(keys[0]).GetPubkey()[0], &v.Allocation("ns", "a").GetKeys()[0][0])
	raw, err := v.txn.First(tableKeys, indexID, keys[0])
	require.NoError(t, err)
	require.Same(t, v.Key(keys[0]), raw)
}
