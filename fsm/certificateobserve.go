package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Observed is the value of an ObserveCertificates command: how many of the
// observations counted.
type Observed int

// observeCertificates takes in what the leader did and saw in the clusters. An
// observation of another generation, round or request than the present one is left
// out; if none is left, that is a refusal.
func (w *write) observeCertificates(c *fsmpb.ObserveCertificates) Result {
	if n := len(c.GetObservations()); n == 0 || n > maxObserve {
		return Result{Refusal: refuse(Invalid, "%d observations, want 1 to %d", n, maxObserve)}
	}
	done := 0
	var no *Refusal
	for _, o := range c.GetObservations() {
		if no = w.observeCertificate(o); no == nil {
			done++
		}
	}
	if done == 0 {
		return Result{Refusal: no}
	}
	return Result{Value: Observed(done)}
}

func (w *write) observeCertificate(o *fsmpb.CertificateObservation) *Refusal {
	old := w.certificate(o.GetProject(), o.GetCloud(), o.GetReference())
	if old == nil || old.GetGeneration() != o.GetGeneration() {
		return refuse(StaleGeneration, "%s/%s/%s was seen in generation %d, it is in %d", o.GetProject(), o.GetCloud(), brief(o.GetReference()), o.GetGeneration(), old.GetGeneration())
	}
	row := proto.CloneOf(old)
	var no *Refusal
	switch {
	case o.GetKind() == fsmpb.CertificateObservation_KIND_WAITING:
	case old.GetRemoving():
		no = w.seeRemoval(row, o)
	case o.GetKind() == fsmpb.CertificateObservation_KIND_APPLIED:
		no = w.seeApplied(row, o)
	default:
		no = w.seeRequest(row, o)
	}
	if no != nil {
		return no
	}
	w.explain(row, o.GetCode(), o.GetDetail())
	if proto.Equal(row, old) {
		return nil
	}
	mustInsert(w.txn, tableCertificates, row)
	w.settleCloud(o.GetProject(), o.GetCloud())
	return nil
}

func (w *write) seeRemoval(row *fsmpb.Certificate, o *fsmpb.CertificateObservation) *Refusal {
	switch {
	case o.GetKind() == fsmpb.CertificateObservation_KIND_REMOVED:
		if !row.GetRemoved() {
			w.record("cloud.remove", certificatePath(row), fmt.Sprintf("generation %d", row.GetGeneration()))
		}
		row.Removed = true
	case o.GetKind() != fsmpb.CertificateObservation_KIND_STUCK:
		return refuse(StaleGeneration, "%s is being removed", certificatePath(row))
	case o.GetCode() != CodeStuck:
		return refuse(Invalid, "what is stuck has the code %s", CodeStuck)
	}
	return nil
}

func (w *write) seeApplied(row *fsmpb.Certificate, o *fsmpb.CertificateObservation) *Refusal {
	if o.GetRevision() > row.GetWanted() {
		return refuse(Invalid, "revision %d was applied, wanted is %d", o.GetRevision(), row.GetWanted())
	}
	if o.GetRevision() > row.GetApplied() {
		row.Applied = o.GetRevision()
		w.record("cloud.apply", certificatePath(row), fmt.Sprintf("generation %d, revision %d", row.GetGeneration(), o.GetRevision()))
	}
	return nil
}

// seeRequest takes in what became of a CertificateSigningRequest.
func (w *write) seeRequest(row *fsmpb.Certificate, o *fsmpb.CertificateObservation) *Refusal {
	waits := row.GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_REQUESTED || row.GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_APPROVED
	uid := row.GetRequestUid()
	switch {
	case !waits, o.GetRound() != row.GetRound(), uid != "" && uid != o.GetRequestUid(),
		o.GetRequestUid() == "" && o.GetKind() != fsmpb.CertificateObservation_KIND_LOST:
		return refuse(StaleGeneration, "request %s of round %d of %s was seen, it waits for %s of round %d: %t",
			brief(o.GetRequestUid()), o.GetRound(), certificatePath(row), uid, row.GetRound(), waits)
	case len(o.GetRequestUid()) > maxName:
		return refuse(Invalid, "a UID of %d bytes", len(o.GetRequestUid()))
	}
	row.RequestUid = o.GetRequestUid()
	detail := fmt.Sprintf("%s, UID %s", row.GetRequestName(), row.GetRequestUid())
	switch o.GetKind() {
	case fsmpb.CertificateObservation_KIND_REQUESTED:
		if uid == "" {
			w.record("certificate.requested", certificatePath(row), detail)
		}
	case fsmpb.CertificateObservation_KIND_APPROVED:
		if row.GetState() != fsmpb.CertificateState_CERTIFICATE_STATE_APPROVED {
			row.State = fsmpb.CertificateState_CERTIFICATE_STATE_APPROVED
			w.record("certificate.approve", certificatePath(row), detail)
		}
	case fsmpb.CertificateObservation_KIND_ISSUED:
		return w.seeIssued(row, o, detail)
	case fsmpb.CertificateObservation_KIND_DENIED:
		row.State = fsmpb.CertificateState_CERTIFICATE_STATE_DENIED
		w.record("certificate.denied", certificatePath(row), brief(detail+": "+o.GetDetail()))
	case fsmpb.CertificateObservation_KIND_FAILED:
		row.State = fsmpb.CertificateState_CERTIFICATE_STATE_FAILED
		w.record("certificate.failed", certificatePath(row), brief(detail+": "+o.GetDetail()))
	case fsmpb.CertificateObservation_KIND_LOST:
		row.State, row.RequestUid = fsmpb.CertificateState_CERTIFICATE_STATE_WANTED, ""
		w.record("certificate.lost", certificatePath(row), brief(detail+": "+o.GetDetail()))
	default:
		return refuse(Invalid, "an observation of kind %d", o.GetKind())
	}
	return nil
}

// seeIssued stores a certificate in place of the one before it.
func (w *write) seeIssued(row *fsmpb.Certificate, o *fsmpb.CertificateObservation, detail string) *Refusal {
	from, to := o.GetNotBeforeWallMs(), o.GetNotAfterWallMs()
	if n := len(o.GetPem()); n == 0 || n > maxCertificate || from < 0 || to <= from || o.GetSerial() == "" || len(o.GetSerial()) > maxName {
		return refuse(Invalid, "a certificate of %d bytes with serial number %q from %d to %d", n, brief(o.GetSerial()), from, to)
	}
	row.State = fsmpb.CertificateState_CERTIFICATE_STATE_ISSUED
	row.Pem, row.Serial, row.NotBeforeWallMs, row.NotAfterWallMs = o.GetPem(), o.GetSerial(), from, to
	row.RenewWallMs = from + (to-from)/3*2
	w.record("certificate.issue", certificatePath(row), fmt.Sprintf("%s, serial number %s, until %d ms", detail, row.GetSerial(), to))
	return nil
}
