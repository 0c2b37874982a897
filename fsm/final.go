package fsm

import (
	"bytes"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// seeFinal keeps a block that was seen to be final, so that every later leader can
// tell a chain that was reset. A newer block takes the place of an older one of
// the same chain; the block of another chain is taken as it is.
func (w *write) seeFinal(b *fsmpb.FinalBlock) Result {
	if b.GetChainId() == 0 || len(b.GetGenesisHash()) != blockHashLength || len(b.GetHash()) != blockHashLength {
		return Result{Refusal: refuse(Invalid, "a final block needs a chain ID, a genesis hash and its own")}
	}
	if no := w.checkGenesis(b.GetChainId(), b.GetGenesisHash()); no != nil {
		return Result{Refusal: no}
	}
	old := w.meta.GetFinalBlock()
	if old.GetChainId() == b.GetChainId() && bytes.Equal(old.GetGenesisHash(), b.GetGenesisHash()) && old.GetNumber() >= b.GetNumber() {
		return Result{} // late, or a repeat
	}
	w.meta.FinalBlock = b
	return Result{}
}

// checkGenesis refuses a chain that is recorded with another first block.
func (w *write) checkGenesis(chainID uint64, genesis []byte) *Refusal {
	// Whichever account was the chain's first, all have the same genesis.
	for known := range rows[*fsmpb.Account](w.txn, tableAccounts, indexID, orderKey(chainID)...) {
		if !bytes.Equal(known.GetGenesisHash(), genesis) {
			return refuse(ForeignChain, "chain %d was recorded with genesis %x, not %x", chainID, known.GetGenesisHash(), genesis)
		}
		break
	}
	return nil
}
