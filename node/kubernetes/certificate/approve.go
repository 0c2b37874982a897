package certificate

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	certificates "k8s.io/api/certificates/v1"
)

var (
	// ErrForeign says that the object of that name is not the one that was recorded:
	// somebody else's. It is left alone and reported.
	ErrForeign = errors.New("the certificate request in Kubernetes is not ours")
	// ErrReplaced says that the object has another UID than the one that was recorded:
	// ours was deleted and somebody made another of that name. It wraps [ErrForeign].
	ErrReplaced = fmt.Errorf("%w: it was replaced", ErrForeign)
	// ErrDecided says that the object was denied or has failed, which stays so.
	ErrDecided = errors.New("the certificate request was decided against")
)

// Approve reports why we must not approve the object that Kubernetes holds under the
// recorded name, nil if we may. Errors name the field that differs and wrap
// [ErrForeign], [ErrReplaced], [ErrDecided], or [ErrRequest] if the recorded bytes
// themselves are not what may be approved. It does not ask whether the object is
// approved already; [Progress] tells that.
func Approve(w Wanted, got *certificates.CertificateSigningRequest) error {
	if err := Ours(w, got); err != nil {
		return err
	}
	if err := CheckRequest(w.Request, w.CommonName, w.SPKI); err != nil {
		return fmt.Errorf("spec.request of %.253q: %w", w.Name, err)
	}
	for _, kind := range []certificates.RequestConditionType{certificates.CertificateDenied, certificates.CertificateFailed} {
		if c := condition(got, kind); c != nil {
			return fmt.Errorf("%.253q: %w: %s", w.Name, ErrDecided, tell(got, c))
		}
	}
	return nil
}

// Ours reports why the object that Kubernetes holds is not the one that was recorded,
// nil if it is. Errors name the field that differs and wrap [ErrForeign] or [ErrReplaced].
func Ours(w Wanted, got *certificates.CertificateSigningRequest) error {
	if got == nil {
		return fmt.Errorf("%w: there is none", ErrForeign)
	}
	for _, check := range []func(Wanted, *certificates.CertificateSigningRequest) error{
		sameName, sameObject, sameRequest, sameSigner, sameUsages, sameExpiration, sameLabels,
	} {
		if err := check(w, got); err != nil {
			return err
		}
	}
	return nil
}

func sameName(w Wanted, got *certificates.CertificateSigningRequest) error {
	if w.Name == "" || got.Name != w.Name {
		return fmt.Errorf("%w: metadata.name is %.253q, not %.253q", ErrForeign, got.Name, w.Name)
	}
	return nil
}

func sameObject(w Wanted, got *certificates.CertificateSigningRequest) error {
	if w.UID != "" && got.UID != w.UID {
		return fmt.Errorf("%w: metadata.uid of %q is %.64q, not %.64q", ErrReplaced, w.Name, got.UID, w.UID)
	}
	return nil
}

func sameRequest(w Wanted, got *certificates.CertificateSigningRequest) error {
	if len(w.Request) == 0 || !bytes.Equal(got.Spec.Request, RequestPEM(w.Request)) {
		return fmt.Errorf("%w: spec.request of %q has other bytes", ErrForeign, w.Name)
	}
	return nil
}

func sameSigner(w Wanted, got *certificates.CertificateSigningRequest) error {
	if got.Spec.SignerName != Signer {
		return fmt.Errorf("%w: spec.signerName of %q is %.128q, not %q", ErrForeign, w.Name, got.Spec.SignerName, Signer)
	}
	return nil
}

func sameUsages(w Wanted, got *certificates.CertificateSigningRequest) error {
	want, have := Usages(), slices.Clone(got.Spec.Usages)
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(have, want) {
		return fmt.Errorf("%w: spec.usages of %q are %.128q, not %q", ErrForeign, w.Name, have[:min(len(have), 8)], want)
	}
	return nil
}

func sameExpiration(w Wanted, got *certificates.CertificateSigningRequest) error {
	var have int32
	if got.Spec.ExpirationSeconds != nil {
		have = *got.Spec.ExpirationSeconds
	}
	if have != w.ExpirationSeconds {
		return fmt.Errorf("%w: spec.expirationSeconds of %q is %d, not %d", ErrForeign, w.Name, have, w.ExpirationSeconds)
	}
	return nil
}

func sameLabels(w Wanted, got *certificates.CertificateSigningRequest) error {
	labels := w.Owner.Labels()
	for _, key := range []string{LabelManagedBy, LabelClusterID, LabelCloud, LabelGeneration} {
		if have := got.Labels[key]; have != labels[key] {
			return fmt.Errorf("%w: label %s of %q is %.64q, not %q", ErrForeign, key, w.Name, have, labels[key])
		}
	}
	return nil
}
