package fsm

import (
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// deleteObject removes an object that nothing else rests on. A cloud takes with it
// what is below it in its path. Its value is nil.
func (w *write) deleteObject(c *fsmpb.DeleteObject) Result {
	kind, names := objectNames(c.GetObject())
	if kind == 0 {
		return Result{Refusal: refuse(Invalid, "an object of no kind")}
	}
	o := w.object(kind, names...)
	if o == nil {
		return Result{Refusal: refuse(NotFound, "there is no %s", objectText(c.GetObject()))}
	}
	if no := w.checkDelete(o); no != nil {
		return Result{Refusal: no}
	}
	if kind == kindCloud {
		w.dropParts(names[0], names[1])
	}
	w.dropObject(o)
	w.recordObject(o, "delete")
	return Result{}
}

// dropParts removes what is below a cloud.
func (w *write) dropParts(project, cloud string) {
	for _, kind := range cloudKinds {
		for _, o := range gather(objectsUnder(w.txn, kind, project, cloud)) {
			w.dropObject(o)
		}
	}
	for _, c := range gather(certificatesOf(w.txn, project, cloud)) {
		mustDelete(w.txn, tableCertificates, c)
	}
}

// checkDelete refuses to remove what is in use.
func (w *write) checkDelete(o *fsmpb.Object) *Refusal {
	switch k := o.GetKind().(type) {
	case *fsmpb.Object_Project:
		return w.empty(o, kindCloud, k.Project.GetMetadata().GetName())
	case *fsmpb.Object_Provider:
		return w.empty(o, kindCluster, k.Provider.GetMetadata().GetName())
	case *fsmpb.Object_Cluster:
		provider, name := k.Cluster.GetProvider(), k.Cluster.GetMetadata().GetName()
		for r := range rows[*fsmpb.Object](w.txn, tableObjects, indexUses, path(provider, name)...) {
			return refuse(InUse, "%s is in use by %s", objectText(o), objectText(r))
		}
		for c := range certificatesOn(w.txn, indexOpen, provider, name) {
			return refuse(InUse, "something of logical cloud %s/%s is to be done in %s", c.GetProject(), c.GetCloud(), objectText(o))
		}
	case *fsmpb.Object_Cloud:
		switch c := k.Cloud; c.GetState() {
		case fsmpb.CloudState_CLOUD_STATE_TERMINATING:
			return refuse(WrongState, "%s is %s: wait until it is Terminated or TerminateFailed", objectText(o), stateText(c))
		case fsmpb.CloudState_CLOUD_STATE_CREATED, fsmpb.CloudState_CLOUD_STATE_TERMINATED, fsmpb.CloudState_CLOUD_STATE_TERMINATE_FAILED:
		default:
			return refuse(WrongState, "%s is %s: terminate it first", objectText(o), stateText(c))
		}
	case *fsmpb.Object_Reference:
		return w.checkAtRest(k.Reference.GetProject(), k.Reference.GetCloud(), "deleted")
	}
	return nil
}

func (w *write) empty(o *fsmpb.Object, kind byte, name string) *Refusal {
	for child := range objectsUnder(w.txn, kind, name) {
		return refuse(InUse, "%s has %s", objectText(o), objectText(child))
	}
	return nil
}
