package fsm

import (
	"encoding/binary"
	"iter"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/fsm/memdb"
)

// Tables of the logical clouds. All that operators describe is in one; what the
// leader sees of it in the clusters is in another.
const (
	tableObjects      = "objects"
	tableCertificates = "certificates"
)

// Indexes of these tables besides "id" and "sealed"; partial like the others.
const (
	indexUses  = "uses"  // references, by the Kubernetes cluster that they are to
	indexOn    = "on"    // certificates, by Kubernetes cluster
	indexOpen  = "open"  // certificates that something is to be done for, by Kubernetes cluster
	indexRenew = "renew" // certificates that were issued, by when the next one is asked for
)

// Kinds of objects, the first byte of their key.
const (
	kindProject byte = iota + 1
	kindProvider
	kindCluster
	kindCloud
	kindReference
	kindPermission
	kindQuota
	kindKeyValues
)

// cloudKinds are what is below a logical cloud in its path.
var cloudKinds = []byte{kindReference, kindPermission, kindQuota, kindKeyValues}

func objectTable() *memdb.TableSchema {
	return table(
		tableObjects,
		objectKey,
		partial(indexUses, func(o *fsmpb.Object) bool { return o.GetReference() != nil }, func(o *fsmpb.Object) []byte {
			r := o.GetReference()
			return append(path(r.GetProvider(), r.GetCluster()), objectKey(o)...)
		}),
		partial(indexSealed, func(o *fsmpb.Object) bool { return len(sealedIn(o)) > 0 }, func(o *fsmpb.Object) []byte {
			return append(binary.BigEndian.AppendUint32(nil, SealedTerm(sealedIn(o))), objectKey(o)...)
		}),
	)
}

func certificateTable() *memdb.TableSchema {
	on := func(c *fsmpb.Certificate) []byte {
		return append(path(c.GetProvider(), c.GetCluster()), certificateKey(c)...)
	}
	return table(
		tableCertificates,
		certificateKey,
		partial(indexOn, nil, on),
		partial(indexOpen, isOpenCertificate, on),
		partial(indexRenew, isRenewable, func(c *fsmpb.Certificate) []byte {
			return append(wallKey(c.GetRenewWallMs()), certificateKey(c)...)
		}),
	)
}

// path makes a key of names; the zero byte occurs in none, so no key is the
// beginning of another's.
func path(names ...string) []byte {
	var key []byte
	for _, name := range names {
		key = append(append(key, name...), 0)
	}
	return key
}

func kindPath(kind byte, names ...string) []byte { return append([]byte{kind}, path(names...)...) }

// wallKey sorts a wall-clock time, which is not negative here.
func wallKey(ms int64) []byte { return orderKey(uint64(max(ms, 0))) }

// objectNames are the kind of an object and the names that it goes by, 0 for none.
func objectNames(o *fsmpb.Object) (byte, []string) {
	switch k := o.GetKind().(type) {
	case *fsmpb.Object_Project:
		return kindProject, []string{k.Project.GetMetadata().GetName()}
	case *fsmpb.Object_Provider:
		return kindProvider, []string{k.Provider.GetMetadata().GetName()}
	case *fsmpb.Object_Cluster:
		return kindCluster, []string{k.Cluster.GetProvider(), k.Cluster.GetMetadata().GetName()}
	case *fsmpb.Object_Cloud:
		return kindCloud, []string{k.Cloud.GetProject(), k.Cloud.GetMetadata().GetName()}
	case *fsmpb.Object_Reference:
		return kindReference, []string{k.Reference.GetProject(), k.Reference.GetCloud(), k.Reference.GetMetadata().GetName()}
	case *fsmpb.Object_Permission:
		return kindPermission, []string{k.Permission.GetProject(), k.Permission.GetCloud(), k.Permission.GetMetadata().GetName()}
	case *fsmpb.Object_Quota:
		return kindQuota, []string{k.Quota.GetProject(), k.Quota.GetCloud(), k.Quota.GetMetadata().GetName()}
	case *fsmpb.Object_KeyValues:
		return kindKeyValues, []string{k.KeyValues.GetProject(), k.KeyValues.GetCloud(), k.KeyValues.GetMetadata().GetName()}
	}
	return 0, nil
}

func objectKey(o *fsmpb.Object) []byte {
	kind, names := objectNames(o)
	return kindPath(kind, names...)
}

func certificateKey(c *fsmpb.Certificate) []byte {
	return path(c.GetProject(), c.GetCloud(), c.GetReference())
}

// sealedIn is the ciphertext in an object, nil if it has none.
func sealedIn(o *fsmpb.Object) []byte {
	if c := o.GetCloud(); c != nil {
		return c.GetKey().GetSealed()
	}
	return o.GetCluster().GetSealed()
}

// isOpenCertificate reports whether a leader has something to do.
func isOpenCertificate(c *fsmpb.Certificate) bool {
	if c.GetRemoving() {
		return !c.GetRemoved()
	}
	switch c.GetState() {
	case fsmpb.CertificateState_CERTIFICATE_STATE_WANTED, fsmpb.CertificateState_CERTIFICATE_STATE_REQUESTED,
		fsmpb.CertificateState_CERTIFICATE_STATE_APPROVED:
		return true
	case fsmpb.CertificateState_CERTIFICATE_STATE_ISSUED, fsmpb.CertificateState_CERTIFICATE_STATE_DENIED,
		fsmpb.CertificateState_CERTIFICATE_STATE_FAILED, fsmpb.CertificateState_CERTIFICATE_STATE_UNSPECIFIED:
	}
	return c.GetApplied() < c.GetWanted()
}

// isRenewable reports whether the certificate is one that is renewed in time.
func isRenewable(c *fsmpb.Certificate) bool {
	return !c.GetRemoving() && c.GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_ISSUED
}

func (w *write) object(kind byte, names ...string) *fsmpb.Object {
	return first[*fsmpb.Object](w.txn, tableObjects, kindPath(kind, names...))
}

func (w *write) cloud(project, name string) *fsmpb.Object {
	return w.object(kindCloud, project, name)
}

func (w *write) certificate(project, cloud, reference string) *fsmpb.Certificate {
	return first[*fsmpb.Certificate](w.txn, tableCertificates, path(project, cloud, reference))
}

// putObject stores an object and keeps the count of ciphertexts by term.
func (w *write) putObject(o *fsmpb.Object) {
	old := first[*fsmpb.Object](w.txn, tableObjects, objectKey(o))
	w.countSealed(sealedIn(old), sealedIn(o))
	mustInsert(w.txn, tableObjects, o)
}

func (w *write) dropObject(o *fsmpb.Object) {
	w.countSealed(sealedIn(o), nil)
	mustDelete(w.txn, tableObjects, o)
}

// objectsUnder iterates over the objects of a kind whose names begin with these.
func objectsUnder(txn *memdb.Txn, kind byte, names ...string) iter.Seq[*fsmpb.Object] {
	return rows[*fsmpb.Object](txn, tableObjects, indexID, kindPath(kind, names...)...)
}

func certificatesOf(txn *memdb.Txn, project, cloud string) iter.Seq[*fsmpb.Certificate] {
	return rows[*fsmpb.Certificate](txn, tableCertificates, indexID, path(project, cloud)...)
}

func certificatesOn(txn *memdb.Txn, index, provider, cluster string) iter.Seq[*fsmpb.Certificate] {
	return rows[*fsmpb.Certificate](txn, tableCertificates, index, path(provider, cluster)...)
}

// gather keeps the rows of an iteration that is about to change what it goes over.
func gather[T any](seq iter.Seq[T]) []T {
	var list []T
	for row := range seq {
		list = append(list, row)
	}
	return list
}
