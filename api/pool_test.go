package api

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestKeysArePaged(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	a := h.held("web-0", "uid-1", 5)
	h.allocate("web-1", "uid-1", 2, "")
	h.node.generate()

	var all []wire.Key
	cursor, pages := "", 0
	for {
		p := read[wire.KeyPage](t, h.get("/v1/keys?limit=3"+cursor))
		require.LessOrEqual(t, len(p.Keys), 3)
		require.Equal(t, map[string]int64{"generated": 0, "depositing": 2, "free": 0, "held": 5, "resting": 0, "retired": 0}, p.Counts)
		all = append(all, p.Keys...)
		if pages++; p.NextCursor == "" {
			break
		}
		cursor = "&cursor=" + p.NextCursor
	}
	require.Equal(t, 3, pages)
	require.Len(t, all, 7)
	require.True(t, slices.IsSortedFunc(all, func(a, b wire.Key) int { return compareText(a.Pubkey, b.Pubkey) }))

	p := read[wire.KeyPage](t, h.get("/v1/keys?state=held&limit=5"))
	require.Len(t, p.Keys, 5)
	require.Empty(t, p.NextCursor, "a page that is just full is the last one")
	for _, k := range p.Keys {
		require.Equal(t, wire.Pod{Namespace: "default", Pod: "web-0", PodUID: "uid-1"}, k.Holder)
		require.Equal(t, fmt.Sprintf("m/12381/3600/%d/0/0", k.Index), k.Path)
		require.Equal(t, a.Fence, k.Fence)
	}
	p = read[wire.KeyPage](t, h.get("/v1/keys?state=depositing"))
	require.Equal(t, "default/web-1", p.Keys[0].ReservedBy)
	require.Zero(t, p.Keys[0].Holder)
	require.Empty(t, read[wire.KeyPage](t, h.get("/v1/keys?state=retired")).Keys)

	require.Equal(t, p.Keys[0], read[wire.Key](t, h.get("/v1/keys/"+p.Keys[0].Pubkey)))
	require.Equal(t, p.Keys[0], read[wire.Key](t, h.get("/v1/keys/"+p.Keys[0].Pubkey[2:])), "0x may be left out")
	requireProblem(t, h.get("/v1/keys/"+fmt.Sprintf("%096x", 1)), 404, notFound, "")
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestDepositsFromPlanToFinal(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.allocate("web-0", "uid-1", 2, "")
	h.node.generate()
	h.node.deposit("chain-down", "connection refused")
	p := read[wire.DepositPage](t, h.get("/v1/deposits"))
	require.Equal(t, map[string]int64{"planned": 2, "signed": 0, "sent": 0, "mined": 0, "final": 0}, p.Counts)
	require.Equal(t, "chain-down", p.Waiting.Code)
	require.Len(t, p.Deposits, 2)
	require.Equal(t, wire.DepositStatePlanned, p.Deposits[0].State)
	require.Empty(t, p.Deposits[0].Attempts)

	h.node.deposit("", "")
	h.node.sign()
	p = read[wire.DepositPage](t, h.get("/v1/deposits?state=signed&limit=1"))
	require.Zero(t, p.Waiting)
	require.NotEmpty(t, p.NextCursor)
	d := p.Deposits[0]
	require.Equal(t, int64(32_000_000_000), d.AmountGwei)
	require.Equal(t, int64(1337), d.ChainID)
	require.Len(t, d.Attempts, 1)
	require.Equal(t, d.Attempts[0].TxHash, d.TxHash, "the last attempt while none has landed")
	require.Zero(t, d.BlockNumber)
	require.Len(t, d.Signature, 2+2*96)
	require.Len(t, p.Accounts, 1)
	require.Equal(t, int64(2), p.Accounts[0].NextNonce-p.Accounts[0].FirstNonce)
	require.Equal(t, d.Account, p.Accounts[0].Address)

	h.node.observe(fsmpb.DepositState_DEPOSIT_STATE_SIGNED, fsmpb.Observation_KIND_LOST)
	d = read[wire.Deposit](t, h.get("/v1/deposits/"+d.Pubkey))
	require.Equal(t, wire.DepositStatePlanned, d.State)
	require.Len(t, d.Losses, 1)
	require.Equal(t, p.Accounts[0].Address, d.Losses[0].Account)

	h.node.pay()
	d = read[wire.Deposit](t, h.get("/v1/deposits/"+d.Pubkey))
	require.Equal(t, wire.DepositStateFinal, d.State)
	require.Equal(t, int64(5), d.BlockNumber)
	require.NotContains(t, h.get("/v1/deposits").Body.String(), `"raw"`)
	requireProblem(t, h.get("/v1/deposits/"+fmt.Sprintf("%096x", 1)), 404, notFound, "")
}

func TestAllocationsOfPods(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	require.Empty(t, read[wire.Assignments](t, h.get("/v1/allocations")).Assignments)
	requireProblem(t, h.get("/v1/allocations/default/web-0"), http.StatusNotFound, notFound, "")
	a := h.held("web-1", "uid-1", 1)
	b := h.held("web-0", "uid-2", 2)
	list := read[wire.Assignments](t, h.get("/v1/allocations"))
	require.Equal(t, []wire.Allocation{b, a}, list.Assignments)
	require.Equal(t, "cluster-1", list.ClusterID)
	require.Positive(t, list.AppliedIndex)

	h.allocate("web-1", "uid-1", 3, "")
	s := read[wire.PodStatus](t, h.get("/v1/allocations/default/web-1"))
	require.Equal(t, a, s.Allocation)
	require.Equal(t, 1, s.Pending.Held)
	require.Equal(t, 2, s.Pending.Missing)
}
