package fsm

import (
	"slices"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// checkObjects looks at the logical clouds: everything has what it is below of,
// and a cloud has a key and certificates of its own generation only.
func (c *checker) checkObjects() {
	w := &write{txn: c.view.txn, meta: c.meta}
	generations := make(map[uint64]string)
	for o := range lowerBound[*fsmpb.Object](c.view.txn, tableObjects, nil) {
		if no := checkObject(o); no != nil {
			c.failf("%s: %w", objectText(o), no)
		}
		if no := w.checkParents(o); no != nil {
			c.failf("%s: %w", objectText(o), no)
		}
		if cloud := o.GetCloud(); cloud != nil {
			c.checkCloud(o, cloud, generations)
		}
	}
	for row := range lowerBound[*fsmpb.Certificate](c.view.txn, tableCertificates, nil) {
		c.checkCertificate(w, row)
	}
}

func (c *checker) checkCloud(o *fsmpb.Object, cloud *fsmpb.LogicalCloud, generations map[uint64]string) {
	g := cloud.GetGeneration()
	if created := cloud.GetState() == fsmpb.CloudState_CLOUD_STATE_CREATED; created != (g == 0) || created != (cloud.GetPlan() == nil) || g > c.meta.GetGeneration() {
		c.failf("%s is %s in generation %d of %d", objectText(o), stateText(cloud), g, c.meta.GetGeneration())
	}
	if other, taken := generations[g]; g != 0 && taken {
		c.failf("generation %d is that of %s and of %s", g, objectText(o), other)
	}
	generations[g] = objectText(o)
	if cloud.GetKey() != nil && !IsUp(cloud) {
		c.failf("%s is %s and has a key", objectText(o), stateText(cloud))
	}
	if cloud.GetKey() != nil && checkCloudKey(cloud.GetKey()) != nil {
		c.failf("%s has a key that is none", objectText(o))
	}
	w := &write{txn: c.view.txn, meta: c.meta}
	if s := w.settled(cloud); s != cloud.GetState() {
		c.failf("%s is %s, by its certificates it is %s", objectText(o), stateText(cloud), StateText(s))
	}
	for _, reference := range cloud.GetPlan().GetReferences() {
		if isLive(cloud) && (c.view.Certificate(cloud.GetProject(), cloud.GetMetadata().GetName(), reference) == nil ||
			c.view.ClusterReference(cloud.GetProject(), cloud.GetMetadata().GetName(), reference) == nil) {
			c.failf("%s is live, reference %s of its plan is not there", objectText(o), reference)
		}
	}
}

func (c *checker) checkCertificate(w *write, row *fsmpb.Certificate) {
	cloud := w.cloud(row.GetProject(), row.GetCloud()).GetCloud()
	name := certificatePath(row)
	switch {
	case cloud == nil:
		c.failf("certificate %s is of no cloud", name)
		return
	case row.GetGeneration() != cloud.GetGeneration():
		c.failf("certificate %s is of generation %d, the cloud of %d", name, row.GetGeneration(), cloud.GetGeneration())
	case row.GetRemoving() == IsUp(cloud):
		c.failf("certificate %s is being removed: %t, the cloud is %s", name, row.GetRemoving(), stateText(cloud))
	case !slices.Contains(cloud.GetPlan().GetReferences(), row.GetReference()):
		c.failf("certificate %s is in no plan", name)
	case row.GetPem() != "" && (cloud.GetKey() == nil || row.GetRemoving()):
		c.failf("certificate %s is there without its key", name)
	case row.GetApplied() > row.GetWanted(), !row.GetRemoving() && row.GetWanted() != cloud.GetPlan().GetRevision():
		c.failf("certificate %s has revision %d of %d, the plan is %d", name, row.GetApplied(), row.GetWanted(), cloud.GetPlan().GetRevision())
	}
	if row.GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_ISSUED && row.GetPem() == "" {
		c.failf("certificate %s was issued and is empty", name)
	}
	if row.GetState() > fsmpb.CertificateState_CERTIFICATE_STATE_WANTED && (cloud.GetKey() == nil || row.GetRequestName() == "") {
		c.failf("certificate %s is %v without a key or a request", name, row.GetState())
	}
}
