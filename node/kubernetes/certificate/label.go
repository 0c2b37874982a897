package certificate

import "strconv"

// FieldManager is the owner of the fields that Keysteward applies (server-side apply).
const FieldManager = "keysteward"

// Labels of every object that Keysteward makes in a cluster. Sweeping goes by them.
const (
	// LabelManagedBy is Kubernetes' common label; its value is ManagedBy.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "keysteward"
	// LabelClusterID is the ID of the Keysteward cluster.
	LabelClusterID = "keysteward.io/cluster-id"
	// LabelCloud is the CloudID of the logical cloud.
	LabelCloud = "keysteward.io/cloud"
	// LabelGeneration is the generation of the logical cloud, in decimal.
	LabelGeneration = "keysteward.io/generation"
)

// Annotations that tell people what labels have no room for.
const (
	// AnnotationProject is the name of the project.
	AnnotationProject = "keysteward.io/project"
	// AnnotationCloud is the name of the logical cloud.
	AnnotationCloud = "keysteward.io/logical-cloud"
	// AnnotationReference is the name of the cluster reference.
	AnnotationReference = "keysteward.io/reference"
)

// Owner says whose an object is: one generation of a logical cloud of one Keysteward
// cluster, in the cluster of one reference. Names are those of the API.
type Owner struct {
	ClusterID  string
	Project    string
	Cloud      string
	Reference  string
	Generation uint64
}

// CloudID is the [CloudID] of the owner's cloud.
func (o Owner) CloudID() string { return CloudID(o.ClusterID, o.Project, o.Cloud) }

// Labels are the owner's labels, in a new map. The cluster ID must be fit for a label.
func (o Owner) Labels() map[string]string {
	return map[string]string{
		LabelManagedBy:  ManagedBy,
		LabelClusterID:  o.ClusterID,
		LabelCloud:      o.CloudID(),
		LabelGeneration: strconv.FormatUint(o.Generation, 10),
	}
}

// Annotations are the owner's annotations, in a new map.
func (o Owner) Annotations() map[string]string {
	return map[string]string{
		AnnotationProject:   o.Project,
		AnnotationCloud:     o.Cloud,
		AnnotationReference: o.Reference,
	}
}

// CommonName is the [CommonName] of the owner's user.
func (o Owner) CommonName(user string) string {
	return CommonName(o.ClusterID, o.Project, o.Cloud, user, o.Generation)
}

// ObjectName is the [ObjectName] of one of the owner's objects.
func (o Owner) ObjectName(kind, name string) string {
	return ObjectName(o.CloudID(), o.Generation, kind, name)
}

// RequestName is the [RequestName] of the owner's request in that round.
func (o Owner) RequestName(round uint64, random [8]byte) string {
	return RequestName(o.ClusterID, o.Project, o.Cloud, o.Reference, o.Generation, round, random)
}
