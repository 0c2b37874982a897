package clouds

import (
	"context"
	"errors"
	"fmt"
	"time"

	certificates "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
	"github.com/keysteward/keysteward/node/tracing"
)

const (
	// approvedAfter is how long a certificate may take before the state is told that
	// its request is approved: quick signers spare it that command.
	approvedAfter = 150 * time.Millisecond
	// hurryFor is how long the cluster's other work waits for a certificate.
	hurryFor = time.Second
	// approvals is how often an approval may meet with a change of the object.
	approvals = 5
)

// certify has a certificate signed: it records a request, then makes it, approves it
// and waits for what comes of it.
func (l *lane) certify(ctx context.Context, c *connection) error {
	for ctx.Err() == nil {
		view, row, cloud, ok := l.now()
		if !ok || !wantsCertificate(row, cloud, l.worker.cfg.Now()) {
			return nil
		}
		var err error
		switch row.GetState() {
		case fsmpb.CertificateState_CERTIFICATE_STATE_REQUESTED, fsmpb.CertificateState_CERTIFICATE_STATE_APPROVED:
			err = l.obtain(ctx, c, view, row, cloud)
		default:
			err = l.record(ctx, view, row)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err() //nolint:wrapcheck // the lane knows
}

// record has the name of the next request recorded, before it is made.
func (l *lane) record(ctx context.Context, view *fsm.View, row *fsmpb.Certificate) error {
	_, err := l.worker.session.Propose(ctx, &fsmpb.Command{
		Caller: dutyCaller(), Body: &fsmpb.Command_RequestCertificates{
			RequestCertificates: &fsmpb.RequestCertificates{Requests: []*fsmpb.CertificateRequest{nextRequest(view, row)}},
		},
	})
	if err != nil && !errors.Is(err, fsm.Refused(fsm.StaleGeneration)) {
		return fmt.Errorf("record a certificate request: %w", err)
	}
	return nil
}

// errand is one request on its way.
type errand struct {
	*lane
	c       *connection
	row     *fsmpb.Certificate
	cloud   *fsmpb.LogicalCloud
	wanted  certificate.Wanted
	changed <-chan struct{}
	// patience is how long the other work in the cluster leaves it to this errand.
	patience *time.Timer
	told     bool // the state knows that the request is approved
	silent   bool // the signer is said to be silent
}

// obtain brings a recorded request to its end: a certificate, a refusal, or its loss.
func (l *lane) obtain(ctx context.Context, c *connection, view *fsm.View, row *fsmpb.Certificate, cloud *fsmpb.LogicalCloud) error {
	if err := l.worker.unwatched(); err != nil {
		return err
	}
	off := l.worker.hurry()
	defer off()
	patience := time.AfterFunc(besides, off)
	defer patience.Stop()
	changed, stop := c.seen.subscribe(row.GetRequestName())
	defer stop()
	e := &errand{lane: l, c: c, row: row, cloud: cloud, changed: changed, patience: patience, wanted: certificate.Wanted{
		Name: row.GetRequestName(), UID: types.UID(row.GetRequestUid()), Owner: owner(view, row),
		Request: cloud.GetKey().GetRequest(), CommonName: cloud.GetKey().GetCommonName(), SPKI: cloud.GetKey().GetPublicKey(),
		ExpirationSeconds: int32(cloud.GetExpirationSeconds()), //nolint:gosec // bounded by the API to ten years
	}}
	if failpoint.Enabled {
		failpoint.Reach(PointRequestRecorded)
	}
	got, err := e.submit(ctx)
	if err != nil {
		return err
	}
	return e.follow(ctx, got)
}

// submit creates the request unless it is there, and approves it unless it is. What
// it returns is no longer pending.
func (e *errand) submit(ctx context.Context) (*certificates.CertificateSigningRequest, error) {
	release, err := take(ctx, e.worker.requests)
	if err != nil {
		return nil, err
	}
	defer release()
	e.patience.Reset(hurryFor) // from now on: what waits for a slot is in a hurry, too
	got, err := e.find(ctx)
	for range approvals {
		if err != nil {
			return nil, err
		}
		if state, _ := certificate.Progress(e.wanted, got); state != certificate.StatePending {
			return got, nil
		}
		if failpoint.Enabled {
			failpoint.Reach(PointRequestCreated)
		}
		got, err = e.approve(ctx, got)
		if apierrors.IsConflict(err) {
			got, err = e.get(ctx)
		}
	}
	return nil, waitFor(CodePendingApproval, "the request %s changes again and again while it is approved", e.wanted.Name)
}

// find creates the recorded request, or gets the one that is there. One whose UID is
// recorded was there and is never made again: its name is used up.
func (e *errand) find(ctx context.Context) (*certificates.CertificateSigningRequest, error) {
	if e.wanted.UID != "" {
		if got := e.c.seen.get(e.wanted.Name); got != nil {
			return got, nil
		}
		return e.get(ctx)
	}
	asking, span := e.begin(ctx, "certificate request created")
	got, err := e.c.requests.Create(asking, certificate.Object(e.wanted), metav1.CreateOptions{FieldManager: certificate.FieldManager})
	tracing.End(span, err, "not created")
	if apierrors.IsAlreadyExists(err) {
		return e.get(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("create certificate signing request %s: %w", e.wanted.Name, err)
	}
	return got, nil
}

// get gets the request. That it is gone is observed.
func (e *errand) get(ctx context.Context) (*certificates.CertificateSigningRequest, error) {
	got, err := e.c.requests.Get(ctx, e.wanted.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, e.lost(ctx, reason{CodeRequestGone, "the certificate signing request " + e.wanted.Name + " was deleted; another one is made"})
	}
	if err != nil {
		return nil, fmt.Errorf("get certificate signing request %s: %w", e.wanted.Name, err)
	}
	return got, nil
}

// approve approves what was just got, if it is byte for byte what was recorded.
func (e *errand) approve(ctx context.Context, got *certificates.CertificateSigningRequest) (*certificates.CertificateSigningRequest, error) {
	if err := certificate.Approve(e.wanted, got); err != nil {
		return nil, e.lost(ctx, reason{CodeForeignRequest, err.Error()})
	}
	next := certificate.Approval(got, e.worker.cfg.Now())
	asking, span := e.begin(ctx, "certificate request approved")
	done, err := e.c.requests.UpdateApproval(asking, next.Name, next, metav1.UpdateOptions{FieldManager: certificate.FieldManager})
	tracing.End(span, err, "not approved")
	switch {
	case apierrors.IsConflict(err):
		return nil, err //nolint:wrapcheck // the caller looks for it
	case apierrors.IsNotFound(err):
		return e.get(ctx)
	case apierrors.IsForbidden(err):
		why := reason{CodeForbidden, "the registered credential may not approve certificates: it needs the verb update on certificatesigningrequests/approval" +
			" and the verb approve on signers of the name " + certificate.Signer + " (certificates.k8s.io): " + explain(err).detail}
		return nil, errors.Join(&waiting{why, err}, e.tell(ctx, got, fsmpb.CertificateObservation_KIND_REQUESTED, why))
	case err != nil:
		return nil, fmt.Errorf("approve certificate signing request %s: %w", e.wanted.Name, err)
	}
	e.worker.log.Debug("certificate signing request approved", e.lane.told("request", next.Name)...)
	if failpoint.Enabled {
		failpoint.Reach(PointRequestApproved)
	}
	return done, nil
}

// follow waits until the request has come to its end.
func (e *errand) follow(ctx context.Context, got *certificates.CertificateSigningRequest) error {
	e.because(reason{})
	e.told = e.row.GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_APPROVED
	for began := time.Now(); ; {
		switch state, why := certificate.Progress(e.wanted, got); state {
		case certificate.StateIssued:
			return e.store(ctx, got)
		case certificate.StateDenied:
			return e.tell(ctx, got, fsmpb.CertificateObservation_KIND_DENIED, reason{CodeDenied, why})
		case certificate.StateFailed:
			return e.tell(ctx, got, fsmpb.CertificateObservation_KIND_FAILED, reason{CodeFailed, why})
		case certificate.StateForeign:
			return e.lost(ctx, reason{CodeForeignRequest, why})
		case certificate.StatePending, certificate.StateApproved: // what the watch sees may be older than what was got
		}
		pause := resync
		switch {
		case !e.told:
			pause = approvedAfter - time.Since(began)
		case !e.silent:
			pause = e.worker.cfg.SilentAfter - time.Since(began)
		}
		byTime := sleep(ctx, pause, e.changed)
		if ctx.Err() != nil {
			return ctx.Err() //nolint:wrapcheck // the lane knows
		}
		var err error
		if got, err = e.look(ctx, got, byTime); err != nil {
			return err
		}
	}
}

// look looks at the request again, after the watch spoke or some time passed. Where the
// watch does not know the request, and from time to time, it asks.
func (e *errand) look(ctx context.Context, got *certificates.CertificateSigningRequest, byTime bool) (*certificates.CertificateSigningRequest, error) {
	if err := e.worker.unwatched(); err != nil {
		return nil, err
	}
	switch next := e.c.seen.get(e.wanted.Name); {
	case byTime && !e.told:
		e.told = true
		return got, e.tell(ctx, got, fsmpb.CertificateObservation_KIND_APPROVED, reason{})
	case byTime && !e.silent:
		e.silent = true
		e.because(reason{CodeSignerSilent, "the request " + e.wanted.Name + " is approved, and the signer " + certificate.Signer + " has not answered"})
		return got, nil
	case !byTime && next != nil:
		return next, nil
	default:
		return e.get(ctx)
	}
}

// tell proposes what became of the request.
func (e *errand) tell(ctx context.Context, got *certificates.CertificateSigningRequest, kind fsmpb.CertificateObservation_Kind, why reason) error {
	if e.wanted.UID == "" {
		e.wanted.UID = got.UID
	}
	o := seen(e.row, kind, why)
	o.RequestUid = string(e.wanted.UID)
	return e.worker.observer.observe(ctx, o)
}

// lost proposes that the request can come to nothing, and is an error: another one is
// made after a pause.
func (e *errand) lost(ctx context.Context, why reason) error {
	e.worker.log.Warn("a certificate signing request is lost", e.lane.told("request", e.wanted.Name, "code", why.code, "reason", why.detail)...)
	if why.code == CodeForeignRequest {
		e.worker.duty.metrics.foreign.Inc()
	}
	o := seen(e.row, fsmpb.CertificateObservation_KIND_LOST, why)
	o.RequestUid = string(e.wanted.UID)
	return errors.Join(&waiting{reason: why}, e.worker.observer.observe(ctx, o))
}
