package api

import (
	"bytes"
	"net/http"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// getSeed tells whether there is a seed, and to whom a new one is sealed.
func (s *Server) getSeed(c *call) (answer, error) {
	if err := s.barrier(c.ctx()); err != nil {
		return answer{}, err
	}
	view := s.node.View()
	secret := view.Secret(fsm.SecretSeed)
	return ok(wire.SeedStatus{
		ClusterID: view.Meta().GetClusterId(), Installed: secret != nil,
		Fingerprint: secret.GetFingerprint(), Recipient: s.seedRecipient,
	}), nil
}

// putSeed opens the seed and has it sealed at rest. The state machine decides
// whether it is the cluster's first, the same again, or another.
func (s *Server) putSeed(c *call, body wire.SealedSeed) (answer, error) {
	if _, isSealed := s.vault.Sealed(); isSealed {
		return answer{}, node.ErrSealed
	}
	if body.Recipient.Kem != s.seedRecipient.Kem || !bytes.Equal(body.Recipient.Key, s.seedRecipient.Key) {
		return answer{}, newProblem(staleRecipient, "the seed is sealed to another node's key, or to this one's before it started again; read /v1/seed again")
	}
	plaintext, err := body.Sealed.Open(s.seedKey, wire.SeedInfo(s.node.View().Meta().GetClusterId()))
	if err != nil {
		return answer{}, badField("sealed", "does not open: it was made for another cluster or altered")
	}
	defer clear(plaintext)
	seed, err := validator.SeedFromBytes(plaintext)
	if err != nil {
		return answer{}, badField("sealed", "%v", err)
	}
	defer seed.Zero()
	if err := s.vault.InstallSeed(c.ctx(), seed, c.caller.proto(), requestID(c.echo)); err != nil {
		return answer{}, err //nolint:wrapcheck // problem.go decides what it is
	}
	return answer{status: http.StatusNoContent}, nil
}
