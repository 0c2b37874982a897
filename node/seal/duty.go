package seal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// Kinds under which what the state holds is sealed, and the seed's ID; that of a
// key is its public key in hexadecimal.
const (
	KindSeed = "seed"
	KindKey  = "key"
	SeedID   = "0"
	// The kubeconfig of a Kubernetes cluster and the key of a logical cloud, whose
	// IDs are those of [KubeconfigID] and [CloudKeyID].
	KindKubeconfig = "kubeconfig"
	KindCloudKey   = "cloud-key"
)

// KubeconfigID is the ID under which the kubeconfig of a Kubernetes cluster is sealed.
func KubeconfigID(provider, cluster string) string { return provider + "/" + cluster }

// CloudKeyID is the ID under which the key of a logical cloud's generation is sealed.
func CloudKeyID(project, cloud string, generation uint64) string {
	return project + "/" + cloud + "/" + strconv.FormatUint(generation, 10)
}

const (
	resealBatch = 256
	dutyPause   = 10 * time.Second
	errorPause  = time.Second
)

// dutyAsker stands for the leader itself in the audit records.
func dutyAsker() Asker {
	return Asker{Caller: &fsmpb.Caller{Name: "keyring", Role: "duty"}}
}

// Duty makes the keyring of a new cluster, gives it a new data key in time, and
// seals again what is under an older one.
func (v *Vault) Duty() node.Duty {
	return node.DutyFunc("keyring", func(ctx context.Context, s *node.Session) error { return v.keep(ctx, s) })
}

func (v *Vault) keep(ctx context.Context, p Proposer) error {
	said := ""
	for ctx.Err() == nil {
		changed := p.View().WatchSecrets()
		switch more, err := v.pass(ctx, p); {
		case err != nil:
			if text := err.Error(); text != said && ctx.Err() == nil {
				v.log.Warn("the keyring could not be kept in order; it is tried again", "error", err)
				said = text
			}
			timer, cancel := context.WithTimeout(ctx, errorPause)
			<-timer.Done()
			cancel()
		case more:
			said = ""
		default:
			said = ""
			timer, cancel := context.WithTimeout(ctx, dutyPause)
			changed.Wait(timer.Done())
			cancel()
		}
	}
	return nil
}

// pass does the next thing that is to be done; it reports whether there was one.
func (v *Vault) pass(ctx context.Context, p Proposer) (more bool, err error) {
	view := p.View()
	s := view.Meta().GetSeal()
	switch {
	case view.Secret(fsm.SecretKeyring) == nil:
		return true, v.found(ctx, p)
	case v.due(view):
		return true, v.Rotate(ctx, p, dutyAsker())
	case v.hasOlder(view):
		return true, v.reseal(ctx, p)
	case s.GetOldestTerm() < s.GetCurrentTerm():
		return true, v.prune(ctx, p)
	}
	return false, v.rewrap(ctx, p)
}

// found gives a new cluster its first keyring.
func (v *Vault) found(ctx context.Context, p Proposer) error {
	view := p.View()
	record, err := NewKeyring(ctx, view.Meta().GetClusterId(), v.keks...)
	if err != nil {
		return err
	}
	_, err = p.Propose(ctx, &fsmpb.Command{
		Caller: dutyAsker().Caller, KeyringRestore: RestoreOf(view),
		Body: &fsmpb.Command_InstallKeyring{InstallKeyring: &fsmpb.InstallKeyring{Sealed: record}},
	})
	if err != nil && !errors.Is(err, fsm.Refused(fsm.KeyringExists)) {
		return fmt.Errorf("install keyring: %w", err)
	}
	return v.Open(ctx, p.View())
}

// due reports whether the data key was used often or long enough.
func (v *Vault) due(view *fsm.View) bool {
	s := view.Meta().GetSeal()
	for _, t := range s.GetTerms() {
		if t.GetTerm() == s.GetCurrentTerm() && t.GetUses() >= v.maxUses {
			return true
		}
	}
	age := view.Meta().GetClusterTimeMs() - s.GetSinceMs()
	return age >= uint64(v.maxAge.Milliseconds()) //nolint:gosec // never negative
}

// hasOlder reports whether something is sealed under an older data key.
func (v *Vault) hasOlder(view *fsm.View) bool {
	for _, t := range view.Meta().GetSeal().GetTerms() {
		if t.GetTerm() < view.Meta().GetSeal().GetCurrentTerm() && t.GetRecords() > 0 {
			return true
		}
	}
	return false
}

// reseal seals some of what is under older data keys again.
func (v *Vault) reseal(ctx context.Context, p Proposer) error {
	view := p.View()
	ring, err := v.Keyring(view)
	if err != nil {
		return err
	}
	current := view.Meta().GetSeal().GetCurrentTerm()
	if ring.current != current {
		return errOpening
	}
	c := &fsmpb.Reseal{}
	if seed := view.Secret(fsm.SecretSeed).GetSealed(); seed != nil && fsm.SealedTerm(seed) < current {
		r, err := ring.again(KindSeed, SeedID, seed)
		if err != nil {
			return err
		}
		r.Secret = fsm.SecretSeed
		c.Records = append(c.Records, r)
	}
	for k := range view.SealedBelow(current) {
		if len(c.GetRecords()) == resealBatch {
			break
		}
		r, err := ring.again(KindKey, hex.EncodeToString(k.GetPubkey()), k.GetSealed())
		if err != nil {
			return err
		}
		r.Pubkey = k.GetPubkey()
		c.Records = append(c.Records, r)
	}
	for o := range view.SealedObjectsBelow(current) {
		if len(c.GetRecords()) == resealBatch {
			break
		}
		r, err := ring.objectAgain(o)
		if err != nil {
			return err
		}
		c.Records = append(c.Records, r)
	}
	body := &fsmpb.Command_Reseal{Reseal: c}
	if _, err = p.Propose(ctx, &fsmpb.Command{Caller: dutyAsker().Caller, KeyringRestore: RestoreOf(view), Body: body}); err != nil {
		return fmt.Errorf("seal again: %w", err)
	}
	return nil
}

// objectAgain is again for what a Kubernetes cluster or a logical cloud has.
func (k *Keyring) objectAgain(o *fsmpb.Object) (*fsmpb.Resealed, error) {
	if c := o.GetCluster(); c != nil {
		id := KubeconfigID(c.GetProvider(), c.GetMetadata().GetName())
		r, err := k.again(KindKubeconfig, id, c.GetSealed())
		if err != nil {
			return nil, err
		}
		r.KubernetesCluster = id
		return r, nil
	}
	c := o.GetCloud()
	r, err := k.again(KindCloudKey, CloudKeyID(c.GetProject(), c.GetMetadata().GetName(), c.GetGeneration()), c.GetKey().GetSealed())
	if err != nil {
		return nil, err
	}
	r.Cloud = c.GetProject() + "/" + c.GetMetadata().GetName()
	return r, nil
}

// again seals what is in a ciphertext under the current data key.
func (k *Keyring) again(kind, id string, sealed []byte) (*fsmpb.Resealed, error) {
	plain, err := k.Open(kind, id, sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	anew, err := k.Seal(kind, id, plain)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(sealed)
	return &fsmpb.Resealed{OldSha256: sum[:], Sealed: anew}, nil
}

// prune gives up the data keys under which nothing is sealed any more.
func (v *Vault) prune(ctx context.Context, p Proposer) error {
	return v.change(ctx, p, dutyAsker(), fsmpb.UpdateKeyring_CHANGE_PRUNE, func(_ *fsm.View, r *rooted) (string, error) {
		r.prune(r.current)
		return "", nil
	})
}

// rewrap wraps the root key again for a key of this node that was changed behind
// its ID.
func (v *Vault) rewrap(ctx context.Context, p Proposer) error {
	for _, wrapping := range Wrapping(p.View()) {
		for _, now := range v.Identities() {
			if now.ID == wrapping.ID && now.Version != wrapping.Version {
				return v.change(ctx, p, dutyAsker(), fsmpb.UpdateKeyring_CHANGE_REWRAP, func(_ *fsm.View, r *rooted) (string, error) {
					return now.ID, r.wrapEither(ctx, now, v.keks)
				})
			}
		}
	}
	return nil
}
