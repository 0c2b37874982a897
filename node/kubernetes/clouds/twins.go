package clouds

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// identify finds out which Kubernetes this is, by the UID of a namespace that every
// one has, and tries again until it knows. One Kubernetes may be registered under
// several names, and what is wanted under one of them must not be swept under another.
func (w *worker) identify(ctx context.Context, c *connection) {
	for failures := 1; ctx.Err() == nil; failures++ {
		if found, err := c.core.Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{}); err == nil {
			w.duty.identified(w.key, found.UID)
			return
		} else if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
			w.log.Warn("it is not known which Kubernetes this is: namespaces that other registered clusters use too are not deleted in it", "error", err)
			return
		}
		sleep(ctx, w.cfg.pauseAfter(failures), nil)
	}
}

// identified notes which Kubernetes a registered cluster is; empty that it is not known.
func (d *Duty) identified(key clusterKey, uid types.UID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.identities[key] = uid
}

// kinship is how a registered cluster stands to that of a worker.
type kinship int

const (
	another   kinship = iota // another Kubernetes
	maybeSame                // it is not known of both which they are
	same                     // the same Kubernetes, under this or another name
)

// kin lists the registered clusters that are, or may be, the Kubernetes of this one.
func (w *worker) kin(view *fsm.View) map[clusterKey]kinship {
	w.duty.mu.Lock()
	defer w.duty.mu.Unlock()
	found := make(map[clusterKey]kinship)
	mine := w.duty.identities[w.key]
	for c := range view.AllKubernetesClusters() {
		key := clusterKey{c.GetProvider(), c.GetMetadata().GetName()}
		switch theirs := w.duty.identities[key]; {
		case key == w.key, mine != "" && mine == theirs:
			found[key] = same
		case mine == "" || theirs == "":
			found[key] = maybeSame
		}
	}
	return found
}

// rowsOfKin calls do for the rows of all clouds that are, or may be, in the Kubernetes
// of this worker.
func (w *worker) rowsOfKin(view *fsm.View, do func(*fsmpb.Certificate, kinship)) {
	for key, k := range w.kin(view) {
		for row := range view.CertificatesOn(key.provider, key.name) {
			do(row, k)
		}
	}
}
