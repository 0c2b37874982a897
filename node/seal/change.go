package seal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// Proposer is what changes the keyring goes through: a leader's session, or the
// node that leads.
type Proposer interface {
	// View returns the applied state.
	View() *fsm.View
	// Propose has the command agreed on and applied, see [node.Node.Propose].
	Propose(ctx context.Context, cmd *fsmpb.Command) (any, error)
}

// Asker is who wants a change, for the audit record.
type Asker struct {
	Caller    *fsmpb.Caller
	RequestID string
}

// Why a change of the key-encryption keys is refused.
var (
	// ErrUnknownKey says that the cluster knows no key-encryption key of this ID.
	ErrUnknownKey = errors.New("unknown key-encryption key")
	// ErrLastKey says that no other key-encryption key would be left.
	ErrLastKey = errors.New("the last key-encryption key can not be removed")
	// ErrRemoved says that a key was removed once, and is added again only with force.
	ErrRemoved = errors.New("the key-encryption key was removed before")
	// ErrStranded says that members could open nothing any more.
	ErrStranded = errors.New("members would have no key-encryption key left")
)

// changeTries is how often a change is made anew that another one came before.
const changeTries = 4

// change replaces the keyring by one that edit makes of it. What edit returns is
// the key that the audit record names; it may be called several times.
func (v *Vault) change(ctx context.Context, p Proposer, ask Asker, kind fsmpb.UpdateKeyring_Change, edit func(*fsm.View, *rooted) (string, error)) error {
	for tried := 1; ; tried++ {
		err := v.changeOnce(ctx, p, ask, kind, edit)
		if !errors.Is(err, fsm.Refused(fsm.StaleKeyring)) || tried == changeTries {
			return err
		}
	}
}

func (v *Vault) changeOnce(ctx context.Context, p Proposer, ask Asker, kind fsmpb.UpdateKeyring_Change, edit func(*fsm.View, *rooted) (string, error)) error {
	view := p.View()
	v.identify(ctx, view.Meta().GetClusterId())
	sealed := view.Secret(fsm.SecretKeyring).GetSealed()
	if sealed == nil {
		return errNoKeyring
	}
	r, err := openRooted(ctx, view.Meta().GetClusterId(), sealed, v.keks)
	if err != nil {
		return fmt.Errorf("%w: %w", node.ErrSealed, err)
	}
	defer r.zero()
	key, err := edit(view, r)
	if err != nil {
		return err
	}
	record, err := r.encode()
	if err != nil {
		return err
	}
	if v.opens(r.rec) { // or else this node is sealed by the change, like any other
		v.mu.Lock()
		v.prepared = &prepared{record: record, ring: &r.Keyring}
		v.mu.Unlock()
	}
	_, err = p.Propose(ctx, &fsmpb.Command{
		Caller: ask.Caller, RequestId: ask.RequestID, KeyringRestore: RestoreOf(view),
		Body: &fsmpb.Command_UpdateKeyring{UpdateKeyring: &fsmpb.UpdateKeyring{
			Sealed: record, Revision: view.Meta().GetSeal().GetRevision(), Change: kind, Key: key,
			CurrentTerm: r.current, OldestTerm: r.keys.terms()[0],
		}},
	})
	if err != nil {
		return fmt.Errorf("change the keyring: %w", err)
	}
	return nil
}

// opens reports whether one of this node's keys wraps the root key of a record.
func (v *Vault) opens(rec record) bool {
	return slices.ContainsFunc(v.Identities(), func(i Identity) bool {
		_, ok := rec.Wraps[i.ID]
		return ok
	})
}

// Rotate makes a new data key, under which everything is sealed from now on; what
// is there is sealed again little by little, by the leader's duty.
func (v *Vault) Rotate(ctx context.Context, p Proposer, ask Asker) error {
	return v.change(ctx, p, ask, fsmpb.UpdateKeyring_CHANGE_ROTATE, func(_ *fsm.View, r *rooted) (string, error) {
		r.rotate()
		return "", nil
	})
}

// Add wraps the root key for one more key-encryption key: one that this node was
// given, or one with a public part that a member has announced. Naming its ID,
// which is the fingerprint of that part, is the operator's approval. A key that
// wraps already changes nothing. The error wraps [ErrUnknownKey] if neither this
// node nor a member has such a key, and [ErrCannotWrap] if only others have it.
func (v *Vault) Add(ctx context.Context, p Proposer, ask Asker, id string, force bool) error {
	if rec, err := decodeRecord(p.View().Secret(fsm.SecretKeyring).GetSealed()); err == nil && rec.Wraps[id].Root != nil {
		return nil
	}
	return v.change(ctx, p, ask, fsmpb.UpdateKeyring_CHANGE_ADD, func(view *fsm.View, r *rooted) (string, error) {
		to, err := v.find(view, id)
		if err != nil {
			return "", err
		}
		if slices.Contains(r.rec.Removed, id) && !force {
			return "", fmt.Errorf("%w: %s", ErrRemoved, id)
		}
		r.rec.Removed = slices.DeleteFunc(r.rec.Removed, func(removed string) bool { return removed == id })
		return id, r.wrapEither(ctx, to, v.keks)
	})
}

// find looks for a key among this node's and those that members announced.
func (v *Vault) find(view *fsm.View, id string) (Identity, error) {
	for _, identity := range v.Identities() {
		if identity.ID == id {
			return identity, nil
		}
	}
	for m := range view.Members() {
		for _, k := range m.GetKeys() {
			if k.GetId() == id {
				return Identity{ID: id, Public: k.GetPublic()}, nil
			}
		}
	}
	return Identity{}, fmt.Errorf("%w %.100q: no member was given it", ErrUnknownKey, id)
}

// Remove makes a new root key that this key-encryption key does not wrap, and a
// new data key: with it and an old backup nothing can be opened that is sealed
// from now on. The last key is never removed ([ErrLastKey]); nor, without force,
// the only one of some member ([ErrStranded]).
func (v *Vault) Remove(ctx context.Context, p Proposer, ask Asker, id string, force bool) error {
	return v.change(ctx, p, ask, fsmpb.UpdateKeyring_CHANGE_REMOVE, func(view *fsm.View, r *rooted) (string, error) {
		if _, ok := r.rec.Wraps[id]; !ok {
			return "", fmt.Errorf("%w %.100q: it does not wrap the root key", ErrUnknownKey, id)
		}
		if len(r.rec.Wraps) == 1 {
			return "", ErrLastKey
		}
		delete(r.rec.Wraps, id)
		if stranded := strands(view, r.rec); len(stranded) > 0 && !force {
			return "", fmt.Errorf("%w: %v", ErrStranded, stranded)
		}
		r.rec.Removed = append(r.rec.Removed, id)
		r.rec.Removed = r.rec.Removed[max(0, len(r.rec.Removed)-maxRemoved):]
		r.rotate()
		return forced(id, force), r.reroot(ctx, v.keks)
	})
}

// forced is how a key is named on record.
func forced(id string, force bool) string {
	if force {
		return id + " by force"
	}
	return id
}

// Removed are the IDs of the keys that were removed from this state's keyring.
func Removed(view *fsm.View) []string {
	rec, err := decodeRecord(view.Secret(fsm.SecretKeyring).GetSealed())
	if err != nil {
		return nil
	}
	return rec.Removed
}

// strands names the members none of whose keys wraps the root key.
func strands(view *fsm.View, rec record) []string {
	var names []string
	for m := range view.Members() {
		opens := slices.ContainsFunc(m.GetKeys(), func(k *fsmpb.KeyEncryptionKey) bool {
			_, ok := rec.Wraps[k.GetId()]
			return ok
		})
		if !opens {
			names = append(names, m.GetNodeId())
		}
	}
	return names
}

// Verified says whether one of this node's key-encryption keys opens the keyring.
type Verified struct {
	// ID is empty if the key could not even be identified.
	ID string
	// Err is nil if it opens the keyring now.
	Err error
}

// Verify has each of this node's key-encryption keys open the keyring, in their
// order, as after a restart.
func (v *Vault) Verify(ctx context.Context, view *fsm.View) ([]Verified, error) {
	rec, err := decodeRecord(view.Secret(fsm.SecretKeyring).GetSealed())
	if err != nil {
		return nil, errNoKeyring
	}
	results := make([]Verified, len(v.keks))
	for i, kek := range v.keks {
		identity, err := kek.Identify(ctx, view.Meta().GetClusterId())
		results[i] = Verified{ID: identity.ID, Err: err}
		if err != nil {
			continue
		}
		r, err := openBy(ctx, view.Meta().GetClusterId(), rec, kek)
		if results[i].Err = err; err == nil {
			r.zero()
		}
	}
	return results, nil
}

// Wrapping are the key-encryption keys that wrap the root key of this state,
// ordered by ID; none if there is no keyring.
func Wrapping(view *fsm.View) []Identity {
	rec, err := decodeRecord(view.Secret(fsm.SecretKeyring).GetSealed())
	if err != nil {
		return nil
	}
	list := make([]Identity, 0, len(rec.Wraps))
	for id, w := range rec.Wraps {
		list = append(list, w.identity(id))
	}
	slices.SortFunc(list, func(a, b Identity) int { return strings.Compare(a.ID, b.ID) })
	return list
}
