package clouds

import "github.com/keysteward/keysteward/node/failpoint"

// Moments between two steps at which fault tests kill, pause or cut off the leader.
// In an ordinary build they are nothing.
const (
	// PointKeyMade: a key was generated, InstallCloudKey is not proposed.
	PointKeyMade failpoint.Name = "cloud-key-made"
	// PointRequestRecorded: the name of a request is recorded, the request is not created.
	PointRequestRecorded failpoint.Name = "request-recorded"
	// PointRequestCreated: the request is in Kubernetes, and is not approved.
	PointRequestCreated failpoint.Name = "request-created"
	// PointRequestApproved: it is approved, and nothing was observed.
	PointRequestApproved failpoint.Name = "request-approved"
	// PointCertificateSeen: the certificate was seen and checked, KIND_ISSUED is not proposed.
	PointCertificateSeen failpoint.Name = "certificate-seen"
	// PointCertificateStored: KIND_ISSUED was applied.
	PointCertificateStored failpoint.Name = "certificate-stored"
	// PointObjectsApplied: the objects are in Kubernetes, KIND_APPLIED is not proposed.
	PointObjectsApplied failpoint.Name = "objects-applied"
	// PointCloudRemoved: nothing is left in Kubernetes, KIND_REMOVED is not proposed.
	PointCloudRemoved failpoint.Name = "cloud-removed"
)

// Failpoints lists the points that every instantiated cloud comes to, in the order of
// its certificate; the objects are applied beside it.
func Failpoints() []failpoint.Name {
	return []failpoint.Name{
		PointKeyMade, PointRequestRecorded, PointRequestCreated, PointRequestApproved,
		PointCertificateSeen, PointCertificateStored, PointObjectsApplied,
	}
}

// RemovalFailpoints lists those that a cloud comes to when it is terminated.
func RemovalFailpoints() []failpoint.Name { return []failpoint.Name{PointCloudRemoved} }
