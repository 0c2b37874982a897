package clouds

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// identify finds out which Kubernetes this is, by the UID of a namespace that every
// one has, and has it recorded. It is an error if clouds were brought into another one
// under this name: nothing of theirs is here, and what is here is not theirs to sweep.
// If the credential may not look, that is no error, and it stays unknown.
func (w *worker) identify(ctx context.Context, c *connection) error {
	found, err := c.core.Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		w.log.Warn("it is not known which Kubernetes this is, so less is cleaned in it: the registered credential needs the verb get on namespaces", "error", err)
		return nil
	case err != nil:
		return fmt.Errorf("get namespace %s: %w", metav1.NamespaceSystem, err)
	case w.registered().GetUid() == string(found.UID):
		return nil
	}
	_, err = w.session.Propose(ctx, &fsmpb.Command{Caller: dutyCaller(), Body: &fsmpb.Command_IdentifyCluster{
		IdentifyCluster: &fsmpb.IdentifyCluster{Provider: w.key.provider, Cluster: w.key.name, Uid: string(found.UID)},
	}})
	if errors.Is(err, fsm.Refused(fsm.WrongState)) {
		return waitFor(CodeOtherCluster, "at the registered address is another Kubernetes than the one that clouds were brought into as %s"+
			" (the UID of its namespace %s is %s, not %s): register it under a name of its own, and put the kubeconfig of the earlier one back",
			w.key, metav1.NamespaceSystem, found.UID, w.registered().GetUid())
	}
	if err != nil {
		return fmt.Errorf("record which Kubernetes %s is: %w", w.key, err)
	}
	return nil
}

// kinship is how a registered cluster stands to that of a worker.
type kinship int

const (
	maybeSame kinship = iota + 1 // it is not known of both which Kubernetes they are
	same                         // the same Kubernetes, under this or another name
)

// kin lists the registered clusters that are, or may be, the Kubernetes of this one.
// One Kubernetes may be registered under several names, and what is wanted under one
// of them must not be swept under another.
func (w *worker) kin(view *fsm.View) map[clusterKey]kinship {
	found := make(map[clusterKey]kinship)
	mine := view.KubernetesCluster(w.key.provider, w.key.name).GetUid()
	for c := range view.AllKubernetesClusters() {
		key := clusterKey{c.GetProvider(), c.GetMetadata().GetName()}
		switch {
		case key == w.key, mine != "" && mine == c.GetUid():
			found[key] = same
		case mine == "" || c.GetUid() == "":
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
