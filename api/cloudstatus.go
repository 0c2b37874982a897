package api

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/failpoint"
)

func (s *Server) getCloudStatus(c *call) (answer, error) {
	names, err := c.names(ofCloud...)
	if err != nil {
		return answer{}, err
	}
	status, err := cloudStatus(c.reading.view, names[0], names[1])
	return ok(status), err
}

// cloudStatus tells how far a cloud is, everywhere. Its error is that there is none.
func cloudStatus(v *fsm.View, project, name string) (wire.LogicalCloudStatus, error) {
	k := v.Cloud(project, name)
	if k == nil {
		return wire.LogicalCloudStatus{}, newProblem(notFound, "there is no logical cloud %s/%s", project, name)
	}
	w := wire.LogicalCloudStatus{
		Project: project, Cloud: name, State: cloudState(k),
		Generation: signed(k.GetGeneration()), Revision: signed(k.GetPlan().GetRevision()), CommonName: k.GetKey().GetCommonName(),
		Actions: make([]wire.CloudAction, 0, len(k.GetActions())), Clusters: clusterStatuses(v, k),
	}
	for _, a := range k.GetActions() {
		w.Actions = append(w.Actions, wire.CloudAction{
			Action: a.GetAction(), Time: wallTime(a.GetWallMs()), By: a.GetBy(),
			Revision: signed(a.GetRevision()), Generation: signed(a.GetGeneration()),
		})
	}
	return w, nil
}

// clusterStatuses are by reference: those that there are, and those that are gone and
// from whose clusters something is still to be removed.
func clusterStatuses(v *fsm.View, k *fsmpb.LogicalCloud) []wire.CloudClusterStatus {
	project, name := k.GetProject(), k.GetMetadata().GetName()
	all := make(map[string]wire.CloudClusterStatus)
	for r := range v.ClusterReferences(project, name) {
		reference := r.GetMetadata().GetName()
		all[reference] = wire.CloudClusterStatus{
			Reference: reference, ClusterProvider: r.GetProvider(), Cluster: r.GetCluster(), Step: nextStep(k, nil),
		}
	}
	for row := range v.Certificates(project, name) {
		if _, there := all[row.GetReference()]; there || !row.GetRemoved() {
			all[row.GetReference()] = clusterStatus(k, row, failpoint.Now())
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b wire.CloudClusterStatus) int { return strings.Compare(a.Reference, b.Reference) })
}

func clusterStatus(k *fsmpb.LogicalCloud, row *fsmpb.Certificate, now time.Time) wire.CloudClusterStatus {
	w := wire.CloudClusterStatus{
		Reference: row.GetReference(), ClusterProvider: row.GetProvider(), Cluster: row.GetCluster(),
		Ready: !row.GetRemoving() && isValid(row, now) && row.GetApplied() >= row.GetWanted(),
		Step:  nextStep(k, row), Reason: reasonOf(row, now),
	}
	if !row.GetRemoving() {
		w.Certificate = wire.CertificateStatus{
			State: certificateState(row.GetState()), RequestName: row.GetRequestName(), Serial: row.GetSerial(),
			NotBefore: wallTime(row.GetNotBeforeWallMs()), NotAfter: wallTime(row.GetNotAfterWallMs()), RenewAt: wallTime(row.GetRenewWallMs()),
		}
	}
	return w
}

func certificateState(s fsmpb.CertificateState) wire.CertificateState {
	return wire.CertificateState(strings.ToLower(strings.TrimPrefix(s.String(), "CERTIFICATE_STATE_")))
}

// isValid reports whether there is a certificate that has not expired.
func isValid(row *fsmpb.Certificate, now time.Time) bool {
	return row.GetPem() != "" && now.Before(time.UnixMilli(row.GetNotAfterWallMs()))
}

// isRefused reports whether no certificate will come before an operator acts.
func isRefused(row *fsmpb.Certificate) bool {
	return row.GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_DENIED || row.GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_FAILED
}

// reasonOf is why something waits, or what is wrong; the zero value if nothing is.
func reasonOf(row *fsmpb.Certificate, now time.Time) wire.WaitReason {
	w := wire.WaitReason{Code: row.GetCode(), Message: row.GetDetail(), Since: wallTime(row.GetSinceWallMs())}
	expired := row.GetPem() != "" && !isValid(row, now)
	switch state := certificateState(row.GetState()); {
	case w.Code == "" && isRefused(row):
		w.Code = string(state)
	case w.Code == "" && expired:
		w.Code, w.Since = "expired", wallTime(row.GetNotAfterWallMs())
	case w.Code == "":
		return wire.WaitReason{}
	}
	if w.Message == "" {
		w.Message = stepTexts[wire.CloudStep(w.Code)]
	}
	if expired {
		w.Message = strings.TrimPrefix(w.Message+"; the last certificate expired at "+wallTime(row.GetNotAfterWallMs()).Format(time.RFC3339), "; ")
	}
	return w
}

// nextStep is what is to happen next in one cluster; row is nil for a reference that
// is in no plan yet.
func nextStep(k *fsmpb.LogicalCloud, row *fsmpb.Certificate) wire.CloudStep {
	switch {
	case row == nil && fsm.IsUp(k):
		return wire.CloudStepUpdate
	case row == nil:
		return wire.CloudStepInstantiate
	case row.GetRemoved():
		return wire.CloudStepRemoved
	case row.GetRemoving():
		return wire.CloudStepRemove
	}
	switch row.GetState() {
	case fsmpb.CertificateState_CERTIFICATE_STATE_REQUESTED:
		if row.GetRequestUid() != "" {
			return wire.CloudStepApproval
		}
		return wire.CloudStepRequest
	case fsmpb.CertificateState_CERTIFICATE_STATE_APPROVED:
		return wire.CloudStepCertificate
	case fsmpb.CertificateState_CERTIFICATE_STATE_DENIED:
		return wire.CloudStepDenied
	case fsmpb.CertificateState_CERTIFICATE_STATE_FAILED:
		return wire.CloudStepFailed
	case fsmpb.CertificateState_CERTIFICATE_STATE_ISSUED:
		if row.GetApplied() < row.GetWanted() {
			return wire.CloudStepApply
		}
		return wire.CloudStepReady
	case fsmpb.CertificateState_CERTIFICATE_STATE_WANTED, fsmpb.CertificateState_CERTIFICATE_STATE_UNSPECIFIED:
	}
	if k.GetKey() == nil {
		return wire.CloudStepKey
	}
	return wire.CloudStepRequest
}

// stepTexts say in words what a kubeconfig waits for.
var stepTexts = map[wire.CloudStep]string{
	wire.CloudStepKey:         "the leader makes the cloud's private key",
	wire.CloudStepRequest:     "the leader creates the certificate signing request in the cluster",
	wire.CloudStepApproval:    "the certificate signing request is not approved yet",
	wire.CloudStepCertificate: "the request is approved, and the cluster's signer has not issued the certificate yet",
	wire.CloudStepDenied:      "the certificate signing request was denied",
	wire.CloudStepFailed:      "the cluster's signer failed to issue the certificate",
	wire.CloudStepApply:       "the certificate has expired",
	wire.CloudStepReady:       "the certificate has expired",
}
