package clouds

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/seal"
)

// ErrNoKey says that a logical cloud has no key: it was never instantiated, or is
// terminated, or its key is being made.
var ErrNoKey = errors.New("the logical cloud has no key")

// Secrets seals and opens what clouds keep secret: the kubeconfigs of Kubernetes
// clusters and the keys of clouds. It keeps nothing opened. It may be used by
// several goroutines.
type Secrets struct {
	vault seal.Opener
	node  seal.Proposer
	// making is held while a key is made before its generation.
	making sync.Mutex
}

// NewSecrets returns the secrets of the node's cluster.
func NewSecrets(v seal.Opener, n seal.Proposer) *Secrets { return &Secrets{vault: v, node: n} }

// PutCluster proposes to create or replace a Kubernetes cluster with this canonical
// kubeconfig, which it seals into put.Object, and returns the object as it is kept.
// Errors wrap [node.ErrSealed] where nothing can be sealed; else they are those of the
// proposal.
func (s *Secrets) PutCluster(ctx context.Context, put *fsmpb.PutObject, kubeconfig []byte, caller *fsmpb.Caller, requestID string) (*fsmpb.Object, error) {
	cluster := put.GetObject().GetCluster()
	id := seal.KubeconfigID(cluster.GetProvider(), cluster.GetMetadata().GetName())
	value, err := seal.ProposeSealed(ctx, s.vault, s.node, func(ring *seal.Keyring) (*fsmpb.Command, error) {
		sealed, err := ring.Seal(seal.KindKubeconfig, id, kubeconfig)
		if err != nil {
			return nil, err //nolint:wrapcheck // names what it is
		}
		cluster.Sealed = sealed
		return &fsmpb.Command{Caller: caller, RequestId: requestID, Body: &fsmpb.Command_PutObject{PutObject: put}}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("register Kubernetes cluster %s: %w", id, err)
	}
	object, ok := value.(*fsmpb.Object)
	if !ok {
		return nil, fmt.Errorf("register Kubernetes cluster %s: the state machine answered %T", id, value)
	}
	return object, nil
}

// Kubeconfig opens the canonical kubeconfig of a Kubernetes cluster: the caller's own
// copy, who clears it. Errors wrap [node.ErrSealed].
func (s *Secrets) Kubeconfig(_ context.Context, cluster *fsmpb.KubernetesCluster) ([]byte, error) {
	return s.open(seal.KindKubeconfig, seal.KubeconfigID(cluster.GetProvider(), cluster.GetMetadata().GetName()), cluster.GetSealed())
}

// CloudKey opens the key of a cloud's present generation, PKCS#8 in DER: the caller's
// own copy, who clears it. Errors wrap [ErrNoKey] or [node.ErrSealed].
func (s *Secrets) CloudKey(_ context.Context, cloud *fsmpb.LogicalCloud) ([]byte, error) {
	id := seal.CloudKeyID(cloud.GetProject(), cloud.GetMetadata().GetName(), cloud.GetGeneration())
	if cloud.GetKey() == nil {
		return nil, fmt.Errorf("%s: %w", id, ErrNoKey)
	}
	return s.open(seal.KindCloudKey, id, cloud.GetKey().GetSealed())
}

func (s *Secrets) open(kind, id string, sealed []byte) ([]byte, error) {
	ring, err := s.ring(s.node.View())
	if err != nil {
		return nil, err
	}
	plain, err := ring.Open(kind, id, sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: open %s %s: %w", node.ErrSealed, kind, id, err)
	}
	return plain, nil
}

// ring gives the keyring; its error wraps node.ErrSealed.
func (s *Secrets) ring(view *fsm.View) (*seal.Keyring, error) {
	ring, err := s.vault.Keyring(view)
	switch {
	case err == nil:
		return ring, nil
	case errors.Is(err, node.ErrSealed):
		return nil, err //nolint:wrapcheck // says why the node is sealed
	default:
		return nil, fmt.Errorf("%w: %w", node.ErrSealed, err)
	}
}
