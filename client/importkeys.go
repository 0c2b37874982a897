package client

import (
	"context"
	"fmt"
	"net/http"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

const (
	pathImport = "/v1/keys/import"
	// importBatch is how many keys one request brings; few enough for a bar to move.
	importBatch = 200
	// maxSealings bounds how often the leader may change under our hands.
	maxSealings = 5
)

// ImportKeys gives keys of validators that run elsewhere to the cluster, sealed to
// the leader of the moment, and returns what became of each, in their order. They
// rest until ConfirmStopped. A key that the cluster knows stays as it is, so that
// repeating is safe. Beside an error it returns those that are certain. Progress,
// if not nil, is told how many are done. The secrets remain the caller's.
func (c *Client) ImportKeys(ctx context.Context, secrets []*validator.SecretKey, progress func(done int)) ([]wire.ImportedKey, error) {
	done := make([]wire.ImportedKey, 0, len(secrets))
	for len(done) < len(secrets) {
		batch := secrets[len(done):min(len(done)+importBatch, len(secrets))]
		results, err := c.importBatch(ctx, batch)
		if err != nil {
			return done, fmt.Errorf("import keys %d to %d of %d: %w", len(done)+1, len(done)+len(batch), len(secrets), err)
		}
		done = append(done, results...)
		if progress != nil {
			progress(len(done))
		}
	}
	return done, nil
}

// importBatch brings a few keys, to another leader if need be.
func (c *Client) importBatch(ctx context.Context, secrets []*validator.SecretKey) ([]wire.ImportedKey, error) {
	for try := 1; ; try++ {
		status, err := c.Seed(ctx)
		if err != nil {
			return nil, err
		}
		results, err := c.submitKeys(ctx, status, secrets)
		if err == nil || try == maxSealings || !IsType(err, TypeStaleRecipient) {
			return results, err
		}
	}
}

func (c *Client) submitKeys(ctx context.Context, status wire.SeedStatus, secrets []*validator.SecretKey) ([]wire.ImportedKey, error) {
	if status.ClusterID == "" {
		return nil, errNotFounded
	}
	if err := c.pin(status.ClusterID); err != nil {
		return nil, err
	}
	pubkeys := make([]string, len(secrets))
	plaintext := make([]byte, 0, len(secrets)*wire.ImportRecord)
	defer func() { clear(plaintext[:cap(plaintext)]) }()
	for i, secret := range secrets {
		public, raw := secret.PublicKey(), secret.Bytes()
		var err error
		plaintext, err = wire.AppendImport(plaintext, public, raw)
		clear(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRequest, err)
		}
		pubkeys[i] = public.String()
	}
	sealed, err := status.Recipient.Seal(wire.ImportInfo(status.ClusterID), plaintext)
	if err != nil {
		return nil, fmt.Errorf("seal keys to the leader: %w", err)
	}
	body, err := encode(wire.SealedKeys{Recipient: status.Recipient, Sealed: sealed})
	if err != nil {
		return nil, err
	}
	answer, err := get[wire.ImportedKeys](ctx, c, call{method: http.MethodPost, path: pathImport, body: body})
	if err != nil {
		return nil, err
	}
	return answer.Keys, checkImported(pubkeys, answer.Keys)
}

// checkImported compares an answer with what was brought.
func checkImported(pubkeys []string, results []wire.ImportedKey) error {
	if len(results) != len(pubkeys) {
		return fmt.Errorf("%w: it tells of %d keys, brought were %d", ErrAnswer, len(results), len(pubkeys))
	}
	for i, r := range results {
		if r.Pubkey != pubkeys[i] || !r.Result.Valid() {
			return fmt.Errorf("%w: it tells %.20q of %.100q, brought was %s", ErrAnswer, r.Result, r.Pubkey, pubkeys[i])
		}
	}
	return nil
}

// ConfirmStopped is the caller's word that no validator elsewhere has an imported
// key any more. The fence is that of the key when the caller made sure. The first
// word counts, and repeating it is safe. A Problem of type not-found says that the
// key does not rest since its import, stale-fence that it has moved on.
func (c *Client) ConfirmStopped(ctx context.Context, pubkey validator.PublicKey, fence int64) error {
	body, err := encode(wire.StoppedKey{Fence: fence})
	if err != nil {
		return err
	}
	r, err := c.do(ctx, call{method: http.MethodPost, path: pathKeys + "/" + pubkey.String() + "/confirm-stopped", body: body})
	if r.uncertain && IsType(err, TypeStaleFence) {
		return nil // an earlier try, whose answer was lost, has let the key go
	}
	if err != nil {
		return fmt.Errorf("confirm that key %s is stopped: %w", pubkey, err)
	}
	return nil
}

// AllKeys returns every key of the cluster by its public key.
func (c *Client) AllKeys(ctx context.Context) (map[validator.PublicKey]wire.Key, error) {
	all := map[validator.PublicKey]wire.Key{}
	for key, err := range c.Keys(ctx, "") {
		if err != nil {
			return nil, err
		}
		public, err := validator.ParsePublicKey(key.Pubkey)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		all[public] = key
	}
	return all, nil
}
