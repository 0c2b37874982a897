package certificate

import (
	"strings"
	"unicode"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
)

// State is how far an object has come in Kubernetes.
type State string

// The states of an object.
const (
	// StatePending waits for approval.
	StatePending State = "pending"
	// StateApproved waits for the signer.
	StateApproved State = "approved"
	// StateDenied was denied by an approver, for good.
	StateDenied State = "denied"
	// StateFailed was refused by the signer, for good.
	StateFailed State = "failed"
	// StateIssued has bytes where the certificate belongs; [Check] says whether they are one.
	StateIssued State = "issued"
	// StateForeign is not the object that was recorded.
	StateForeign State = "foreign"
)

// maxReason bounds the reason of a state, in bytes.
const maxReason = 512

// Progress says how far the object of a recorded request has come, and why it is so in
// one printable line of at most 512 bytes: the condition's reason and message, and who
// wrote them where Kubernetes knows. The reason is empty for StatePending and StateIssued. An
// object that is not ours ([Ours]) is StateForeign, whatever its conditions say. A certificate counts before conditions.
func Progress(w Wanted, got *certificates.CertificateSigningRequest) (State, string) {
	if err := Ours(w, got); err != nil {
		return StateForeign, line(err.Error())
	}
	if len(got.Status.Certificate) > 0 {
		return StateIssued, ""
	}
	for _, known := range []struct {
		kind  certificates.RequestConditionType
		state State
	}{
		{certificates.CertificateDenied, StateDenied},
		{certificates.CertificateFailed, StateFailed},
		{certificates.CertificateApproved, StateApproved},
	} {
		if c := condition(got, known.kind); c != nil {
			return known.state, tell(got, c)
		}
	}
	return StatePending, ""
}

// condition finds a condition that holds.
func condition(got *certificates.CertificateSigningRequest, kind certificates.RequestConditionType) *certificates.CertificateSigningRequestCondition {
	for i := range got.Status.Conditions {
		c := &got.Status.Conditions[i]
		if c.Type == kind && c.Status != core.ConditionFalse && c.Status != core.ConditionUnknown {
			return c
		}
	}
	return nil
}

// tell puts a condition in words: who, why.
func tell(got *certificates.CertificateSigningRequest, c *certificates.CertificateSigningRequestCondition) string {
	parts := []string{strings.ToLower(string(c.Type))}
	subresource := "approval"
	if c.Type == certificates.CertificateFailed {
		subresource = "status"
	}
	for _, entry := range got.ManagedFields {
		if entry.Subresource == subresource && entry.Manager != "" {
			parts[0] += " by " + entry.Manager
			break
		}
	}
	for _, part := range []string{c.Reason, c.Message} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return line(strings.Join(parts, ": "))
}

// line makes one printable line of bounded length of what others wrote.
func line(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(cut(text, maxReason*2), "?"))
	return cut(text, maxReason)
}
