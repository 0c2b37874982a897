package api

import (
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Chain is what slashing protection has to know of the beacon chain.
type Chain struct {
	GenesisTime           time.Time
	GenesisValidatorsRoot [32]byte
	SecondsPerSlot        int64
	SlotsPerEpoch         int64
}

// watermarkMargin is by how many slots the clock of whoever saw a proof may be behind
// the clock by which the old holder signed.
const watermarkMargin = 2

// slotAt is the slot at a time, 0 before the genesis.
func (c Chain) slotAt(t time.Time) int64 {
	return max(0, int64(t.Sub(c.GenesisTime)/time.Second)/c.SecondsPerSlot)
}

// watermarks are what the holder of the allocation has to import before it signs.
func (s *Server) watermarks(view *fsm.View, a *fsmpb.Allocation) wire.SlashingProtection {
	chain := s.cfg.Chain
	w := wire.SlashingProtection{
		GenesisValidatorsRoot: hexText(chain.GenesisValidatorsRoot[:]), GenesisTime: chain.GenesisTime.Unix(),
		SecondsPerSlot: chain.SecondsPerSlot, SlotsPerEpoch: chain.SlotsPerEpoch,
	}
	for _, pubkey := range a.GetKeys() {
		if ms := view.Key(pubkey).GetProvenWallMs(); ms > 0 {
			w.Slot = max(w.Slot, chain.slotAt(time.UnixMilli(ms))+watermarkMargin)
		}
	}
	return w
}
