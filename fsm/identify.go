package fsm

import (
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// identifyCluster keeps which Kubernetes is behind a registered cluster. While clouds
// are in it, it stays that one: certificates, and what was applied, are there and
// nowhere else. Its value is nil.
func (w *write) identifyCluster(c *fsmpb.IdentifyCluster) Result {
	o := w.object(kindCluster, c.GetProvider(), c.GetCluster())
	switch was := o.GetCluster().GetUid(); {
	case o == nil:
		return Result{Refusal: refuse(NotFound, "there is no Kubernetes cluster %s/%s", c.GetProvider(), c.GetCluster())}
	case c.GetUid() == "" || len(c.GetUid()) > maxName:
		return Result{Refusal: refuse(Invalid, "a UID of %d bytes", len(c.GetUid()))}
	case was == c.GetUid():
		return Result{}
	case was != "" && w.isInhabited(c.GetProvider(), c.GetCluster()):
		return Result{Refusal: refuse(WrongState, "%s was the Kubernetes %s when clouds were brought into it, and this is %s", objectText(o), was, c.GetUid())}
	}
	next := proto.CloneOf(o)
	next.GetCluster().Uid = c.GetUid()
	w.putObject(next)
	w.record("cluster.identify", objectPath(o), c.GetUid())
	return Result{}
}

// isInhabited reports whether something of a cloud is, or may be, in a cluster.
func (w *write) isInhabited(provider, cluster string) bool {
	for row := range certificatesOn(w.txn, indexOn, provider, cluster) {
		if !row.GetRemoved() {
			return true
		}
	}
	return false
}

// sameKubernetes lists the registered clusters that are known to be the same as this one.
func (w *write) sameKubernetes(provider, cluster string) []*fsmpb.KubernetesCluster {
	mine := w.object(kindCluster, provider, cluster).GetCluster()
	list := []*fsmpb.KubernetesCluster{mine}
	for o := range objectsUnder(w.txn, kindCluster) {
		if k := o.GetCluster(); k != mine && mine.GetUid() != "" && k.GetUid() == mine.GetUid() {
			list = append(list, k)
		}
	}
	return list
}
