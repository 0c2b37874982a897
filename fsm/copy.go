package fsm

import (
	"slices"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Rows are immutable, so a changed row is a shallow copy: it shares the bytes
// and messages that it does not replace. That keeps an allocation of thousands
// of keys cheap and lets all tables share one copy of each public key.

func copyKey(k *fsmpb.Key) *fsmpb.Key {
	return &fsmpb.Key{
		Pubkey: k.GetPubkey(), State: k.GetState(), Ordinal: k.GetOrdinal(), Index: k.GetIndex(),
		Holder: k.GetHolder(), Fence: k.GetFence(), ProofFence: k.GetProofFence(), ReservedBy: k.GetReservedBy(),
		Imported: k.GetImported(), Sealed: k.GetSealed(), Proof: k.GetProof(), FreeAtMs: k.GetFreeAtMs(),
		RetiredReason: k.GetRetiredReason(), RetiredDetail: k.GetRetiredDetail(),
		ValidatorStatus: k.GetValidatorStatus(), ValidatorIndex: k.GetValidatorIndex(), EffectiveBalanceGwei: k.GetEffectiveBalanceGwei(),
		Adopted: k.GetAdopted(), ProvenWallMs: k.GetProvenWallMs(), Restored: k.GetRestored(),
	}
}

func copyRequest(r *fsmpb.Request) *fsmpb.Request {
	return &fsmpb.Request{
		Pod: r.GetPod(), Keys: r.GetKeys(), Want: r.GetWant(), Reserved: slices.Clone(r.GetReserved()),
		Ready: r.GetReady(), Seq: r.GetSeq(), Blocked: r.GetBlocked(), SinceWallMs: r.GetSinceWallMs(),
		SlashingProtection: r.GetSlashingProtection(),
	}
}

func copyAllocation(a *fsmpb.Allocation) *fsmpb.Allocation {
	return &fsmpb.Allocation{
		Pod: a.GetPod(), State: a.GetState(), Fence: a.GetFence(), Keys: slices.Clone(a.GetKeys()),
		SinceWallMs: a.GetSinceWallMs(), Proof: a.GetProof(), FreeAtMs: a.GetFreeAtMs(),
		Node: a.GetNode(), NodeUid: a.GetNodeUid(), KubernetesUid: a.GetKubernetesUid(), Code: a.GetCode(), Detail: a.GetDetail(),
		LeaseUntilMs: a.GetLeaseUntilMs(), LeaseWaitMs: a.GetLeaseWaitMs(),
	}
}

func copyDeposit(d *fsmpb.Deposit) *fsmpb.Deposit {
	return &fsmpb.Deposit{
		Pubkey: d.GetPubkey(), State: d.GetState(), Seq: d.GetSeq(), AmountGwei: d.GetAmountGwei(),
		Credentials: d.GetCredentials(), Signature: d.GetSignature(), ChainId: d.GetChainId(), Account: d.GetAccount(),
		Attempts: slices.Clone(d.GetAttempts()), BlockNumber: d.GetBlockNumber(), BlockHash: d.GetBlockHash(),
		TxHash: d.GetTxHash(), Losses: slices.Clone(d.GetLosses()), SignedAtMs: d.GetSignedAtMs(),
	}
}
