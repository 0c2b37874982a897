package fsm

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

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
