package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// Vault opens and seals the cluster's secrets on one node. It is sealed until one
// of its key-encryption keys opens the keyring of the state. Only [Vault.Open],
// and what changes the keyring, use those keys, which may take long; everything
// else answers from memory.
type Vault struct {
	keks []KEK
	log  *slog.Logger
	// A data key is replaced after so many uses, or so much cluster time.
	maxUses uint64
	maxAge  time.Duration

	mu       sync.Mutex
	ring     *Keyring
	restores uint64 // how many restores the state had seen that ring was opened for
	ringOf   []byte // the keyring's record that ring was opened from
	tried    []byte // the record that was tried last
	failure  error  // why that one does not open
	unusable error  // why no key can be used, where there is no keyring to try
	checked  bool   // unusable is known
	prepared *prepared
	mine     []Identity // of keks, in their order; empty while one could not be identified
	away     []error    // why each of them could not be used at the last look
}

// prepared is a keyring that this node is about to propose.
type prepared struct {
	record []byte
	ring   *Keyring
}

const (
	defaultMaxUses = 1 << 31 // of one data key; random nonces are safe for 2^32
	defaultMaxAge  = 90 * 24 * time.Hour

	retryFirst = 500 * time.Millisecond // between attempts to open, doubled each time
	retryMost  = 15 * time.Second
	lookAgain  = 30 * time.Second // at the keys, for their versions and whether they are there
)

// NewVault returns a vault for the node that has these key-encryption keys.
func NewVault(log *slog.Logger, keks ...KEK) *Vault {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Vault{keks: keks, mine: make([]Identity, len(keks)), away: make([]error, len(keks)), log: log, maxUses: defaultMaxUses, maxAge: defaultMaxAge}
}

var (
	errNoKeyring = fmt.Errorf("%w: the cluster has no keyring yet", node.ErrSealed)
	errChanged   = fmt.Errorf("%w: the keyring was changed, and is being opened", node.ErrSealed)
	errOpening   = fmt.Errorf("%w: the key-encryption keys were not asked yet", node.ErrSealed)
)

// Usable implements node.Vault: it reports whether secrets of this state can be
// opened, or, before there is a keyring, whether one could be made.
func (v *Vault) Usable(view *fsm.View) (string, bool) {
	_, err := v.Keyring(view)
	if errors.Is(err, errNoKeyring) {
		v.mu.Lock()
		defer v.mu.Unlock()
		if !v.checked {
			return errOpening.Error(), false
		}
		err = v.unusable
	}
	if err != nil {
		return err.Error(), false
	}
	return "", true
}

// Keyring returns the opened keyring of this state. The error wraps
// [node.ErrSealed] and says why it does not open. While a changed keyring is
// being opened the one before is returned if it opens all that is sealed: what it
// seals is good, and will be sealed again.
func (v *Vault) Keyring(view *fsm.View) (*Keyring, error) {
	record := view.Secret(fsm.SecretKeyring).GetSealed()
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case record == nil:
		return nil, errNoKeyring
	case v.ring != nil && bytes.Equal(record, v.ringOf):
		return v.ring, nil
	case v.prepared != nil && bytes.Equal(record, v.prepared.record):
		v.opened(view, record, v.prepared.ring)
		return v.ring, nil
	case v.failure != nil && bytes.Equal(record, v.tried):
		return nil, fmt.Errorf("%w: %w", node.ErrSealed, v.failure)
	case v.ring != nil && v.ring.clusterID == view.Meta().GetClusterId() && v.restores == view.Meta().GetRestore().GetNumber():
		if !v.ring.opensAll(view.Meta().GetSeal()) {
			return nil, errChanged
		}
		return v.ring, nil
	}
	return nil, errOpening
}

// opened keeps the keyring for the history that it was opened in: after a restore
// another one may have given the same terms to other data keys.
func (v *Vault) opened(view *fsm.View, record []byte, ring *Keyring) {
	v.restores = view.Meta().GetRestore().GetNumber()
	v.ring, v.ringOf, v.tried, v.failure, v.prepared = ring, record, record, nil, nil
}

// Open has the keyring of this state opened, unless it is. Without a keyring it
// looks whether a key-encryption key could be used. The error says why not.
func (v *Vault) Open(ctx context.Context, view *fsm.View) error {
	record, clusterID := view.Secret(fsm.SecretKeyring).GetSealed(), view.Meta().GetClusterId()
	if record == nil {
		err := v.checkKeys(ctx)
		v.mu.Lock()
		defer v.mu.Unlock()
		v.unusable, v.checked = err, true
		return err
	}
	v.mu.Lock()
	done := v.ring != nil && bytes.Equal(record, v.ringOf)
	v.mu.Unlock()
	if done {
		return nil
	}
	r, err := openRooted(ctx, clusterID, record, v.keks)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		v.tried, v.failure = record, err
		return err
	}
	r.zero()
	v.opened(view, record, &r.Keyring)
	return nil
}

// checkKeys is nil if at least one of the keys can be used now.
func (v *Vault) checkKeys(ctx context.Context) error {
	failures := []error{fmt.Errorf("%w: none was given", ErrKEK)}
	for i, kek := range v.keks {
		err := kek.Check(ctx)
		if err == nil {
			return nil
		}
		if i == 0 {
			failures = failures[:0]
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// Identities are the key-encryption keys of this node that could be identified
// at least once; one that can not be used just now stays what it was.
func (v *Vault) Identities() []Identity {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(v.mine), func(i Identity) bool { return i.ID == "" })
}

// Announced are the keys of [Vault.Identities] as a member tells the others.
func (v *Vault) Announced() []*fsmpb.KeyEncryptionKey {
	mine := v.Identities()
	list := make([]*fsmpb.KeyEncryptionKey, len(mine))
	for i, identity := range mine {
		list[i] = &fsmpb.KeyEncryptionKey{Id: identity.ID, Public: identity.Public}
	}
	return list
}

func (v *Vault) identify(ctx context.Context, clusterID string) {
	if clusterID == "" {
		return
	}
	for i, kek := range v.keks {
		identity, err := kek.Identify(ctx, clusterID)
		if ctx.Err() != nil {
			return
		}
		v.mu.Lock()
		if v.away[i] = err; err == nil {
			v.mine[i] = identity
		}
		v.mu.Unlock()
	}
}

// Run keeps the keyring open: it tries when the keyring changes, and again when
// that failed, more and more rarely. It returns when the context ends.
func (v *Vault) Run(ctx context.Context, views func() *fsm.View) error {
	wait, said, saidAway := retryFirst, "", ""
	for ctx.Err() == nil {
		view := views()
		changed := view.WatchSecrets()
		err := v.Open(ctx, view)
		v.identify(ctx, view.Meta().GetClusterId())
		pause := lookAgain
		if err != nil {
			pause, wait = wait, min(2*wait, retryMost)
		} else {
			wait = retryFirst
		}
		saidAway = v.sayAway(ctx, err, saidAway)
		if said = v.say(ctx, err, said); view.Meta().GetClusterId() == "" {
			pause = min(pause, retryFirst) // the founding says it without a word to those who watch secrets
		}
		timer, cancel := context.WithTimeout(ctx, pause)
		if changed.Wait(timer.Done()) {
			wait = retryFirst
		}
		cancel()
	}
	return nil
}

// say logs what changed, and returns what was said.
func (v *Vault) say(ctx context.Context, err error, before string) string {
	now := ""
	if err != nil {
		now = err.Error()
	}
	switch {
	case ctx.Err() != nil || now == before:
		return before
	case now == "":
		v.log.Info("unsealed: the key-encryption keys can be used again")
	default:
		v.log.Warn("sealed: no key-encryption key of this node opens the secrets", "reason", now)
	}
	return now
}
