package seal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// errNoCluster says that a keyring was to be made or opened for no cluster in
// particular; it would open in every other.
var errNoCluster = errors.New("keyring without a cluster ID")

// ErrCannotWrap says that the root key can not be wrapped for a key-encryption
// key: this node was not given it, and it has no public part.
var ErrCannotWrap = errors.New("this node can not wrap for the key-encryption key")

// rooted is an opened keyring together with its root key, for as long as it takes
// to make another keyring of it. The root key is in memory at no other time.
type rooted struct {
	Keyring

	root []byte
	rec  record
}

// zero forgets the root key; the data keys live on in the keyring.
func (r *rooted) zero() { clear(r.root) }

// NewKeyring mints a root key and a first data key, and returns the record to
// be replicated: the root key wrapped by all of these keys that can be used now.
// The record becomes the cluster's keyring only if no other was there before it.
func NewKeyring(ctx context.Context, clusterID string, keks ...KEK) ([]byte, error) {
	if clusterID == "" {
		return nil, errNoCluster
	}
	r := &rooted{
		Keyring: Keyring{clusterID: clusterID, current: 1, keys: dataKeys{1: newDataKey()}},
		root:    newRoot(), rec: record{Wraps: make(map[string]wrap)},
	}
	defer r.zero()
	var failures []error
	for _, kek := range keks {
		failures = append(failures, r.wrapBy(ctx, kek))
	}
	if len(r.rec.Wraps) == 0 {
		return nil, fmt.Errorf("new keyring: %w", errors.Join(failures...))
	}
	return r.encode()
}

func newRoot() []byte {
	root := make([]byte, KeySize)
	_, _ = rand.Read(root) // never fails
	return root
}

// openRooted unwraps the root key by the first of the keys that can.
func openRooted(ctx context.Context, clusterID string, encoded []byte, keks []KEK) (*rooted, error) {
	if clusterID == "" {
		return nil, errNoCluster
	}
	rec, err := decodeRecord(encoded)
	if err != nil {
		return nil, err
	}
	failures := []error{fmt.Errorf("%w", ErrNotWrapped)}
	for i, kek := range keks {
		r, err := openBy(ctx, clusterID, rec, kek)
		if err == nil {
			return r, nil
		}
		if i == 0 {
			failures = failures[:0]
		}
		failures = append(failures, err)
	}
	return nil, fmt.Errorf("open keyring: %w", errors.Join(failures...))
}

func openBy(ctx context.Context, clusterID string, rec record, kek KEK) (*rooted, error) {
	identity, err := kek.Identify(ctx, clusterID)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is
	}
	wrapped, ok := rec.Wraps[identity.ID]
	if !ok {
		return nil, fmt.Errorf("%w, this one is %s", ErrNotWrapped, identity.ID)
	}
	root, err := kek.Unwrap(ctx, clusterID, wrapped.Root, additional("root-key", clusterID, identity.ID))
	if err != nil {
		return nil, fmt.Errorf("unwrap root key by %s: %w", identity.ID, err)
	}
	plain, err := decrypt(root, rec.Keys, rec.bound(clusterID))
	if err != nil {
		clear(root)
		return nil, fmt.Errorf("open data keys: %w", err)
	}
	defer clear(plain)
	current, keys, err := decodeDataKeys(plain)
	if err != nil {
		clear(root)
		return nil, err
	}
	r := &rooted{Keyring: Keyring{clusterID: clusterID, current: current, keys: keys}, root: root, rec: rec}
	if err := r.deriveBackups(); err != nil {
		r.zero()
		return nil, err
	}
	return r, nil
}

// encode seals the data keys and is the record to be replicated.
func (r *rooted) encode() ([]byte, error) {
	r.rec.Version = keyringVersion
	plain, err := r.keys.encode(r.current)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	if r.rec.Keys, err = encrypt(r.root, plain, r.rec.bound(r.clusterID)); err != nil {
		return nil, fmt.Errorf("seal data keys: %w", err)
	}
	return encodeRecord(r.rec)
}

// wrapBy has the root key wrapped by a key that this node has.
func (r *rooted) wrapBy(ctx context.Context, kek KEK) error {
	identity, err := kek.Identify(ctx, r.clusterID)
	if err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	root, err := kek.Wrap(ctx, r.clusterID, r.root, additional("root-key", r.clusterID, identity.ID))
	if err != nil {
		return fmt.Errorf("wrap root key by %s: %w", identity.ID, err)
	}
	r.rec.Wraps[identity.ID] = wrap{Root: root, Public: identity.Public, Version: identity.Version}
	return nil
}

// wrapFor wraps the root key for a key of which only the public part is needed.
func (r *rooted) wrapFor(to Identity) error {
	root, err := WrapFor(to, r.root, additional("root-key", r.clusterID, to.ID))
	if err != nil {
		return fmt.Errorf("wrap root key for %s: %w", to.ID, err)
	}
	r.rec.Wraps[to.ID] = wrap{Root: root, Public: to.Public, Version: to.Version}
	return nil
}

// wrapEither wraps for a key by its public part, or else by the key itself, if it
// is one of these. Public parts come first: they need no device.
func (r *rooted) wrapEither(ctx context.Context, to Identity, keks []KEK) error {
	if len(to.Public) > 0 {
		return r.wrapFor(to)
	}
	failures := []error{fmt.Errorf("%w %s: add it to --seal of this node", ErrCannotWrap, to.ID)}
	for _, kek := range keks {
		identity, err := kek.Identify(ctx, r.clusterID)
		switch {
		case err != nil:
			failures = append(failures, err)
		case identity.ID == to.ID:
			return r.wrapBy(ctx, kek)
		}
	}
	return errors.Join(failures...)
}

// rotate makes another data key, under which everything is sealed from now on.
func (r *rooted) rotate() {
	r.keys = maps.Clone(r.keys) // a keyring that is in use stays as it is
	r.current++
	r.keys[r.current] = newDataKey()
}

// reroot makes another root key and has it wrapped for all keys that wrapped the
// last one; with one that was left out before, neither root key nor data keys are
// learned from this record.
func (r *rooted) reroot(ctx context.Context, keks []KEK) error {
	r.zero()
	r.root = newRoot()
	if err := r.deriveBackups(); err != nil {
		return err
	}
	old := r.rec.Wraps
	r.rec.Wraps = make(map[string]wrap, len(old))
	for _, id := range slices.Sorted(maps.Keys(old)) {
		if err := r.wrapEither(ctx, old[id].identity(id), keks); err != nil {
			return err
		}
	}
	return nil
}

// prune gives up the data keys of terms before this one.
func (r *rooted) prune(oldest uint32) {
	r.keys = maps.Clone(r.keys)
	maps.DeleteFunc(r.keys, func(term uint32, _ *secretBytes) bool { return term < oldest })
}
