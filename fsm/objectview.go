package fsm

import (
	"iter"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func (v *View) object(kind byte, names ...string) *fsmpb.Object {
	return first[*fsmpb.Object](v.txn, tableObjects, kindPath(kind, names...))
}

// listed iterates over what get finds in the objects of a kind, by name.
func listed[T any](v *View, get func(*fsmpb.Object) T, kind byte, names ...string) iter.Seq[T] {
	return func(yield func(T) bool) {
		for o := range objectsUnder(v.txn, kind, names...) {
			if !yield(get(o)) {
				return
			}
		}
	}
}

// Project returns the project with the name, nil if there is none.
func (v *View) Project(name string) *fsmpb.Project { return v.object(kindProject, name).GetProject() }

// Projects iterates over all projects by name.
func (v *View) Projects() iter.Seq[*fsmpb.Project] {
	return listed(v, (*fsmpb.Object).GetProject, kindProject)
}

// ClusterProvider returns the provider with the name, nil if there is none.
func (v *View) ClusterProvider(name string) *fsmpb.ClusterProvider {
	return v.object(kindProvider, name).GetProvider()
}

// ClusterProviders iterates over all cluster providers by name.
func (v *View) ClusterProviders() iter.Seq[*fsmpb.ClusterProvider] {
	return listed(v, (*fsmpb.Object).GetProvider, kindProvider)
}

// KubernetesCluster returns the cluster of a provider, nil if there is none.
func (v *View) KubernetesCluster(provider, name string) *fsmpb.KubernetesCluster {
	return v.object(kindCluster, provider, name).GetCluster()
}

// KubernetesClusters iterates over the clusters of a provider by name.
func (v *View) KubernetesClusters(provider string) iter.Seq[*fsmpb.KubernetesCluster] {
	return listed(v, (*fsmpb.Object).GetCluster, kindCluster, provider)
}

// AllKubernetesClusters iterates over the clusters of all providers.
func (v *View) AllKubernetesClusters() iter.Seq[*fsmpb.KubernetesCluster] {
	return listed(v, (*fsmpb.Object).GetCluster, kindCluster)
}

// Cloud returns the logical cloud of a project, nil if there is none.
func (v *View) Cloud(project, name string) *fsmpb.LogicalCloud {
	return v.object(kindCloud, project, name).GetCloud()
}

// Clouds iterates over the logical clouds of a project by name.
func (v *View) Clouds(project string) iter.Seq[*fsmpb.LogicalCloud] {
	return listed(v, (*fsmpb.Object).GetCloud, kindCloud, project)
}

// AllClouds iterates over the logical clouds of all projects.
func (v *View) AllClouds() iter.Seq[*fsmpb.LogicalCloud] {
	return listed(v, (*fsmpb.Object).GetCloud, kindCloud)
}

// ClusterReference returns a reference of a cloud, nil if there is none.
func (v *View) ClusterReference(project, cloud, name string) *fsmpb.ClusterReference {
	return v.object(kindReference, project, cloud, name).GetReference()
}

// ClusterReferences iterates over the references of a cloud by name.
func (v *View) ClusterReferences(project, cloud string) iter.Seq[*fsmpb.ClusterReference] {
	return listed(v, (*fsmpb.Object).GetReference, kindReference, project, cloud)
}

// UserPermission returns a permission of a cloud, nil if there is none.
func (v *View) UserPermission(project, cloud, name string) *fsmpb.UserPermission {
	return v.object(kindPermission, project, cloud, name).GetPermission()
}

// UserPermissions iterates over the permissions of a cloud by name.
func (v *View) UserPermissions(project, cloud string) iter.Seq[*fsmpb.UserPermission] {
	return listed(v, (*fsmpb.Object).GetPermission, kindPermission, project, cloud)
}

// ClusterQuota returns a quota of a cloud, nil if there is none.
func (v *View) ClusterQuota(project, cloud, name string) *fsmpb.ClusterQuota {
	return v.object(kindQuota, project, cloud, name).GetQuota()
}

// ClusterQuotas iterates over the quotas of a cloud by name.
func (v *View) ClusterQuotas(project, cloud string) iter.Seq[*fsmpb.ClusterQuota] {
	return listed(v, (*fsmpb.Object).GetQuota, kindQuota, project, cloud)
}

// KeyValues returns key-values of a cloud, nil if there are none of the name.
func (v *View) KeyValues(project, cloud, name string) *fsmpb.KeyValues {
	return v.object(kindKeyValues, project, cloud, name).GetKeyValues()
}

// AllKeyValues iterates over the key-values of a cloud by name.
func (v *View) AllKeyValues(project, cloud string) iter.Seq[*fsmpb.KeyValues] {
	return listed(v, (*fsmpb.Object).GetKeyValues, kindKeyValues, project, cloud)
}

// Certificate returns how far a cloud is at one of the references of its plan, nil
// if the reference was in no plan yet.
func (v *View) Certificate(project, cloud, reference string) *fsmpb.Certificate {
	return first[*fsmpb.Certificate](v.txn, tableCertificates, path(project, cloud, reference))
}

// Certificates iterates over those of a cloud by reference.
func (v *View) Certificates(project, cloud string) iter.Seq[*fsmpb.Certificate] {
	return certificatesOf(v.txn, project, cloud)
}

// CertificatesOn iterates over those of all clouds that are, or were, in a
// Kubernetes cluster, by project, cloud and reference.
func (v *View) CertificatesOn(provider, cluster string) iter.Seq[*fsmpb.Certificate] {
	return certificatesOn(v.txn, indexOn, provider, cluster)
}

// OpenCertificates iterates over those of [View.CertificatesOn] for which the
// leader has something to do, renewals aside.
func (v *View) OpenCertificates(provider, cluster string) iter.Seq[*fsmpb.Certificate] {
	return certificatesOn(v.txn, indexOpen, provider, cluster)
}

// AllOpenCertificates iterates over those of all Kubernetes clusters, by cluster.
func (v *View) AllOpenCertificates() iter.Seq[*fsmpb.Certificate] {
	return rows[*fsmpb.Certificate](v.txn, tableCertificates, indexOpen)
}

// Renewals iterates over the certificates that were issued, the one that is to be
// renewed first in front.
func (v *View) Renewals() iter.Seq[*fsmpb.Certificate] {
	return rows[*fsmpb.Certificate](v.txn, tableCertificates, indexRenew)
}

// WatchClouds returns what changes when anything of a logical cloud does.
func (v *View) WatchClouds() Changes { return v.watch(tableObjects, tableCertificates) }

// SealedObjectsBelow iterates over the Kubernetes clusters and logical clouds whose
// ciphertext is under an older term than this one, oldest term first.
func (v *View) SealedObjectsBelow(term uint32) iter.Seq[*fsmpb.Object] {
	return func(yield func(*fsmpb.Object) bool) {
		for o := range rows[*fsmpb.Object](v.txn, tableObjects, indexSealed) {
			if SealedTerm(sealedIn(o)) >= term || !yield(o) {
				return
			}
		}
	}
}
