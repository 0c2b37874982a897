package secrets

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/node/seal"
)

// ErrKEKLost says that the Secret with the key-encryption key was made once and is
// gone. It has to be restored from a copy.
var ErrKEKLost = errors.New("the key-encryption key is gone")

const (
	kekKey   = "kek"    // in the Secret of the key
	kekIDKey = "kek-id" // in the record
)

// ensureKEK makes the key-encryption key once. The key is made before the record of
// it: if this ends in between, the next run completes the record.
func (s *store) ensureKEK(ctx context.Context, p Plan) error {
	record, err := s.get(ctx, p.record())
	if err != nil {
		return err
	}
	secret, err := s.get(ctx, p.KEK)
	switch {
	case err != nil:
		return err
	case secret != nil:
		s.say("kept %s", p.KEK)
	case record != nil && len(record.Data[kekIDKey]) > 0:
		return fmt.Errorf("%w: the Secret %s had the key %s, and another key opens nothing of what that one has sealed. Restore it from your copy; "+
			"if there is nothing to open, because the cluster is a new one, delete the Secret %s as well", ErrKEKLost, p.KEK, record.Data[kekIDKey], p.record())
	default:
		if secret, err = s.makeKEK(ctx, p.KEK); err != nil {
			return err
		}
	}
	id, err := seal.FileID(secret.Data[kekKey])
	switch {
	case err != nil:
		return fmt.Errorf("the Secret %s, key %s: %w", p.KEK, kekKey, err)
	case record == nil:
		_, err = s.create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: p.record()},
			Data:       map[string][]byte{kekIDKey: []byte(id)},
		}, "remembers that "+p.KEK+" has the key "+id)
		return err
	case string(record.Data[kekIDKey]) != id:
		s.say("NOTE: %s has the key %s, not %s that was made for it: the cluster has to know both until what is sealed was sealed anew", p.KEK, id, record.Data[kekIDKey])
	}
	return nil
}

// makeKEK makes a Secret that Kubernetes lets nobody change.
func (s *store) makeKEK(ctx context.Context, name string) (*corev1.Secret, error) {
	key := make([]byte, seal.KeySize)
	defer clear(key)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("draw randomness: %w", err)
	}
	digits := hex.AppendEncode(nil, key)
	defer clear(digits)
	immutable := true
	return s.create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Immutable:  &immutable,
		Data:       map[string][]byte{kekKey: digits},
	}, "key-encryption key; keep a copy where the cluster's volumes are not")
}
