package clouds

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	authentication "k8s.io/api/authentication/v1"
	certificates "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
	"github.com/keysteward/keysteward/node/tracing"
)

// store checks what was issued and proposes it.
func (e *errand) store(ctx context.Context, got *certificates.CertificateSigningRequest) error {
	authority := e.c.cluster.CA
	leaf, err := certificate.Check(certificate.Issued{
		PEM: got.Status.Certificate, SPKI: e.wanted.SPKI, CommonName: e.wanted.CommonName,
		Authority: authority, Now: e.worker.cfg.Now(),
	})
	if errors.Is(err, certificate.ErrOtherAuthority) || err == nil && len(authority) == 0 {
		err = e.logIn(ctx, leaf)
	}
	switch {
	case errors.Is(err, certificate.ErrExpired), errors.Is(err, certificate.ErrNotYetValid):
		return e.lost(ctx, reason{CodeClock, fmt.Sprintf("what the signer of %s issued is not valid by this leader's clock, %s: %v",
			e.worker.key, e.worker.cfg.Now().UTC().Format("2006-01-02 15:04 UTC"), err)})
	case errors.Is(err, errNoLogin), err != nil && isCheck(err):
		return e.lost(ctx, reason{CodeRefused, err.Error()})
	case err != nil:
		return err
	}
	if failpoint.Enabled {
		failpoint.Reach(PointCertificateSeen)
	}
	return e.issued(ctx, got, leaf)
}

func (e *errand) issued(ctx context.Context, got *certificates.CertificateSigningRequest, leaf certificate.Leaf) error {
	why := e.others()
	o := seen(e.row, fsmpb.CertificateObservation_KIND_ISSUED, why)
	o.RequestUid = string(got.UID)
	o.Pem, o.Serial = string(leaf.PEM), leaf.Serial
	o.NotBeforeWallMs, o.NotAfterWallMs = leaf.NotBefore.UnixMilli(), leaf.NotAfter.UnixMilli()
	told := e.lane.told("user", e.wanted.CommonName, "serial", leaf.Serial, "until", leaf.NotAfter, "request", e.wanted.Name)
	storing, span := e.begin(ctx, "certificate stored")
	err := e.conclude(storing, o)
	tracing.End(span, err, "not stored")
	if err != nil {
		return err
	}
	if _, row, _, ok := e.now(); !ok || row.GetPem() != o.GetPem() {
		return nil // it came too late
	}
	e.worker.duty.metrics.issued.Observe(e.worker.cfg.Now().Sub(e.wantedSince(e.row)).Seconds())
	e.worker.log.Info("certificate of a logical cloud is stored", told...)
	if failpoint.Enabled {
		failpoint.Reach(PointCertificateStored)
	}
	return nil
}

// isCheck reports whether an error is one of certificate.Check.
func isCheck(err error) bool {
	for _, known := range []error{
		certificate.ErrEmpty, certificate.ErrTooLarge, certificate.ErrNotPEM, certificate.ErrUnreadable, certificate.ErrOtherKey,
		certificate.ErrOtherName, certificate.ErrOrganization, certificate.ErrAuthority, certificate.ErrUsage,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// errNoLogin says that the API server does not know the user of a certificate.
var errNoLogin = errors.New("the API server does not let the certificate log in as its user")

// logIn asks the API server who the user of a certificate is. A cluster may sign
// clients with another authority than the one that vouches for its server, and only
// the latter is registered.
func (e *errand) logIn(ctx context.Context, leaf certificate.Leaf) error {
	der, err := e.worker.cfg.Secrets.CloudKey(ctx, e.cloud)
	if err != nil {
		return err
	}
	defer clear(der)
	key, err := certificate.ParseKey(der)
	if err != nil {
		return fmt.Errorf("key of %s: %w", e.key, err)
	}
	defer key.Zero()
	config, err := e.c.cluster.Config()
	if err != nil {
		return fmt.Errorf("kubeconfig of %s: %w", e.worker.key, err)
	}
	bound(config)
	config.Timeout, config.BearerToken = requestTimeout, ""
	config.CertData, config.KeyData = leaf.PEM, key.PEM()
	defer clear(config.KeyData)
	client, err := authenticationclient.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("client of %s: %w", e.key, err)
	}
	review, err := client.SelfSubjectReviews().Create(ctx, &authentication.SelfSubjectReview{}, metav1.CreateOptions{})
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), e.wanted.CommonName):
		return nil // that is who it is
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w: 401", errNoLogin)
	case err != nil:
		return fmt.Errorf("try a certificate: %w", err)
	case review.Status.UserInfo.Username != e.wanted.CommonName:
		return fmt.Errorf("%w: it is taken for %.80q", errNoLogin, review.Status.UserInfo.Username)
	}
	return nil
}

// wantedSince is when a certificate, or its renewal, began to be wanted.
func (l *lane) wantedSince(row *fsmpb.Certificate) time.Time {
	if since := time.UnixMilli(row.GetSinceWallMs()); row.GetPem() == "" && since.Before(l.began) {
		return since
	}
	return l.began
}
