package clouds

import (
	"hash/fnv"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

// rowKey names the row of a certificate.
type rowKey struct{ project, cloud, reference string }

func keyOf(row *fsmpb.Certificate) rowKey {
	return rowKey{row.GetProject(), row.GetCloud(), row.GetReference()}
}

func (k rowKey) String() string { return k.project + "/" + k.cloud + "/" + k.reference }

// owner is whose the objects of a row are.
func owner(view *fsm.View, row *fsmpb.Certificate) certificate.Owner {
	return certificate.Owner{
		ClusterID: view.Meta().GetClusterId(), Project: row.GetProject(), Cloud: row.GetCloud(),
		Reference: row.GetReference(), Generation: row.GetGeneration(),
	}
}

// seen begins an observation of a row in its present round.
func seen(row *fsmpb.Certificate, kind fsmpb.CertificateObservation_Kind, why reason) *fsmpb.CertificateObservation {
	return &fsmpb.CertificateObservation{
		Kind: kind, Project: row.GetProject(), Cloud: row.GetCloud(), Reference: row.GetReference(),
		Generation: row.GetGeneration(), Round: row.GetRound(), RequestUid: row.GetRequestUid(),
		Code: why.code, Detail: why.detail,
	}
}

// wantsCertificate reports whether there is something to do for the certificate of a
// row at that time. Without the key of its cloud there is not.
func wantsCertificate(row *fsmpb.Certificate, cloud *fsmpb.LogicalCloud, now time.Time) bool {
	if row.GetRemoving() || cloud.GetKey() == nil || cloud.GetGeneration() != row.GetGeneration() || !fsm.IsUp(cloud) {
		return false
	}
	switch row.GetState() {
	case fsmpb.CertificateState_CERTIFICATE_STATE_WANTED, fsmpb.CertificateState_CERTIFICATE_STATE_REQUESTED,
		fsmpb.CertificateState_CERTIFICATE_STATE_APPROVED:
		return true
	case fsmpb.CertificateState_CERTIFICATE_STATE_ISSUED:
		return !now.Before(renewAt(row))
	case fsmpb.CertificateState_CERTIFICATE_STATE_DENIED, fsmpb.CertificateState_CERTIFICATE_STATE_FAILED,
		fsmpb.CertificateState_CERTIFICATE_STATE_UNSPECIFIED:
	}
	return false
}

// wantsObjects reports whether a plan is not in the cluster yet.
func wantsObjects(row *fsmpb.Certificate, cloud *fsmpb.LogicalCloud) bool {
	return !row.GetRemoving() && row.GetApplied() < row.GetWanted() && cloud.GetGeneration() == row.GetGeneration() && fsm.IsUp(cloud)
}

// wantsRemoval reports whether something may be left of a terminated cloud.
func wantsRemoval(row *fsmpb.Certificate) bool { return row.GetRemoving() && !row.GetRemoved() }

// renewAt is when the next certificate is asked for: at two thirds of the life of the
// present one and up to a twentieth of it later, so that those which were issued
// together are not renewed together.
func renewAt(row *fsmpb.Certificate) time.Time {
	spread := (row.GetNotAfterWallMs() - row.GetNotBeforeWallMs()) / 20
	h := fnv.New64a()
	_, _ = h.Write([]byte(keyOf(row).String() + row.GetSerial()))
	later := int64(0)
	if spread > 0 {
		later = int64(h.Sum64() % uint64(spread)) //nolint:gosec // less than spread
	}
	return time.UnixMilli(row.GetRenewWallMs() + later)
}
