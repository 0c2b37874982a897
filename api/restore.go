package api

import (
	"net/http"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// getRestore tells of the backup that was restored last.
func (s *Server) getRestore(c *call) (answer, error) { return ok(restoreOf(c.reading.view)), nil }

// confirmRestore is an operator's word about validators, which ends what a restore
// holds back.
func (s *Server) confirmRestore(c *call, body wire.RestoreWord) (answer, error) {
	if !body.ValidatorsStopped {
		return answer{}, badField("validatorsStopped", "want true: your word that no validator runs with a key of this cluster, but for those in the pods that /v1/allocations shows")
	}
	if body.Number < 1 {
		return answer{}, badField("number", "want the number that /v1/restore tells")
	}
	cmd := c.command()
	cmd.Body = &fsmpb.Command_ConfirmRestore{ConfirmRestore: &fsmpb.ConfirmRestore{
		Number: uint64(body.Number), NoDeposits: body.NoDeposits,
		Proof:  &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: c.caller.Name, Detail: "all validators are stopped but for those of the pods that are known"},
		WaitMs: uint64(s.cfg.RestAfterProof.Milliseconds()), //nolint:gosec // not negative
	}}
	if _, err := s.propose(c.ctx(), cmd); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

func restoreOf(view *fsm.View) wire.Restore {
	r := view.Meta().GetRestore()
	w := wire.Restore{
		Number: signed(r.GetNumber()), Open: r.GetOpen(),
		BackupMade: wallTime(r.GetMadeWallMs()), BackupIndex: signed(r.GetIndex()), By: r.GetBy(), At: wallTime(r.GetWallMs()),
		ConfirmedBy: r.GetConfirmedBy(), ConfirmedAt: wallTime(r.GetConfirmedWallMs()),
		ReplacedCluster: r.GetReplacedCluster(), ReplacedIndex: signed(r.GetReplacedIndex()),
		Missing: []wire.RestoreMissing{},
	}
	for _, m := range view.RestoreMissing() {
		w.Missing = append(w.Missing, wire.RestoreMissing{Code: m.Code, Detail: m.Detail})
	}
	if r == nil {
		return w
	}
	for t := range view.Tokens("") {
		if t.GetSuspended() {
			w.SuspendedTokens++
		}
	}
	for k := range view.LoneKeys() {
		switch {
		case k.GetRestored():
			w.RestingKeys++
		case k.GetAdopted() != nil && fsm.RestsSinceImport(k):
			w.AdoptedKeys++
		}
	}
	return w
}
