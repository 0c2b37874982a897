package api

import (
	"encoding/hex"
	"iter"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// How records of the state look to callers. Nothing here is secret.

func hexText(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return "0x" + hex.EncodeToString(b)
}

// wallTime is the zero time, which is left out, where the state has none.
func wallTime(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func allocationOf(m *fsmpb.Meta, a *fsmpb.Allocation) wire.Allocation {
	w := wire.Allocation{
		ClusterID: m.GetClusterId(),
		Namespace: a.GetPod().GetNamespace(), Pod: a.GetPod().GetName(), PodUID: a.GetPod().GetUid(),
		State: wire.AllocationStateHeld,
		Fence: signed(a.GetFence()), Since: wallTime(a.GetSinceWallMs()),
		Keys: make([]string, len(a.GetKeys())),
	}
	for i, pubkey := range a.GetKeys() {
		w.Keys[i] = hexText(pubkey)
	}
	w.Node, w.Proof = a.GetNode(), proofOf(a.GetProof())
	if a.GetLeaseUntilMs() > 0 && a.GetProof() == nil {
		left := signed(a.GetLeaseUntilMs() - min(a.GetLeaseUntilMs(), m.GetClusterTimeMs()))
		w.LeaseEndsInMs = max(1, left)
	}
	if a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_RESTING {
		w.State = wire.AllocationStateResting
		w.RestsUntil, w.Rest = restsUntil(m, a), restOf(m, a)
	} else {
		w.Holder = slowOf(m, a)
	}
	return w
}

func keyOf(k *fsmpb.Key) wire.Key {
	w := wire.Key{
		Pubkey: hexText(k.GetPubkey()), State: wire.KeyState(keyState(k.GetState())),
		Index: signed(k.GetIndex()), Path: pathOf(k),
		Fence: signed(k.GetFence()), ReservedBy: k.GetReservedBy(),
	}
	showImported(&w, k)
	w.RetiredReason, w.RetiredDetail = k.GetRetiredReason(), k.GetRetiredDetail()
	if w.ValidatorStatus = k.GetValidatorStatus(); w.ValidatorStatus != "" {
		index := signed(k.GetValidatorIndex())
		w.ValidatorIndex, w.EffectiveBalanceGwei = &index, signed(k.GetEffectiveBalanceGwei())
	}
	if h := k.GetHolder(); h != nil {
		w.Holder = wire.Pod{Namespace: h.GetNamespace(), Pod: h.GetName(), PodUID: h.GetUid()}
	}
	return w
}

// keyState is the state's name in the API: KEY_STATE_FREE is "free".
func keyState(s fsmpb.KeyState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "KEY_STATE_"))
}

func depositState(s fsmpb.DepositState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "DEPOSIT_STATE_"))
}

// keyCounts names the counts of the state; its index 0 is no state.
func keyCounts(m *fsmpb.Meta) map[string]int64 {
	counts := make(map[string]int64)
	for state, n := range m.GetKeyCounts() {
		if state > 0 {
			counts[keyState(fsmpb.KeyState(state))] = signed(n)
		}
	}
	return counts
}

func depositCounts(m *fsmpb.Meta) map[string]int64 {
	counts := make(map[string]int64)
	for state, n := range m.GetDepositCounts() {
		if state > 0 {
			counts[depositState(fsmpb.DepositState(state))] = signed(n)
		}
	}
	return counts
}

func depositOf(d *fsmpb.Deposit) wire.Deposit {
	w := wire.Deposit{
		Pubkey: hexText(d.GetPubkey()), State: wire.DepositState(depositState(d.GetState())),
		AmountGwei: signed(d.GetAmountGwei()), WithdrawalCredentials: hexText(d.GetCredentials()), Signature: hexText(d.GetSignature()),
		ChainID: signed(d.GetChainId()), Account: hexText(d.GetAccount()),
		TxHash: hexText(d.GetTxHash()), BlockNumber: signed(d.GetBlockNumber()), BlockHash: hexText(d.GetBlockHash()),
		Attempts: make([]wire.Attempt, 0, len(d.GetAttempts())),
	}
	for _, a := range d.GetAttempts() {
		w.Nonce = signed(a.GetNonce())
		w.Attempts = append(w.Attempts, wire.Attempt{
			Nonce: w.Nonce, TxHash: hexText(a.GetTxHash()),
			FeeCapWei: signed(a.GetFeeCapWei()), TipWei: signed(a.GetTipWei()),
		})
	}
	if n := len(w.Attempts); n > 0 && w.TxHash == "" {
		w.TxHash = w.Attempts[n-1].TxHash
	}
	for _, l := range d.GetLosses() {
		w.Losses = append(w.Losses, wire.Loss{
			Nonce: signed(l.GetNonce()), TxHash: hexText(l.GetTxHash()), Reason: l.GetReason(),
			ChainID: signed(l.GetChainId()), Account: hexText(l.GetAccount()),
		})
	}
	return w
}

func accountsOf(accounts iter.Seq[*fsmpb.Account]) []wire.FundingAccount {
	var all []wire.FundingAccount
	for a := range accounts {
		w := wire.FundingAccount{
			ChainID: signed(a.GetChainId()), GenesisHash: hexText(a.GetGenesisHash()), Address: hexText(a.GetAddress()),
			FirstNonce: signed(a.GetFirstNonce()), NextNonce: signed(a.GetNextNonce()),
		}
		if stop := a.GetStop(); stop != nil {
			w.Stop = wire.Stop{Reason: stop.GetReason(), Nonce: signed(stop.GetNonce()), Since: wallTime(stop.GetSinceWallMs())}
		}
		for _, r := range a.GetGivenUp() {
			w.GivenUp = append(w.GivenUp, wire.NonceRange{First: signed(r.GetFirst()), Last: signed(r.GetLast())})
		}
		all = append(all, w)
	}
	return all
}

// waitingOf is why deposits wait; the zero value if they flow.
func waitingOf(s *fsmpb.DepositStatus) wire.Reason {
	if s.GetCode() == "" {
		return wire.Reason{}
	}
	return wire.Reason{Code: s.GetCode(), Detail: s.GetDetail(), Since: wallTime(s.GetSinceWallMs())}
}
