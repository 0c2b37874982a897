package clouds

import (
	"errors"
	"fmt"
	"strings"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/kubernetes/unanswered"
)

// Why a logical cloud waits in one of its clusters: the codes of Certificate.code. They
// are stable; programs may go by them.
const (
	// CodeUnreachable: the API server gives no answer, or none that is of use.
	CodeUnreachable = "cluster-unreachable"
	// CodeAuthority: the API server does not prove to be the one that was registered.
	CodeAuthority = "cluster-authority"
	// CodeUnauthorized: the API server does not know the registered credential (401).
	CodeUnauthorized = "cluster-unauthorized"
	// CodeOtherCluster: it is another Kubernetes than the one that clouds were brought into.
	CodeOtherCluster = "other-cluster"
	// CodeForbidden: the registered credential lacks a permission, which the detail names.
	CodeForbidden = "forbidden"
	// CodeSealed: this leader can not open the cluster's secrets.
	CodeSealed = "sealed"
	// CodePendingApproval: the certificate request is not approved yet.
	CodePendingApproval = "csr-pending-approval"
	// CodeSignerSilent: it is approved, and no certificate has come yet.
	CodeSignerSilent = "signer-silent"
	// CodeForeignRequest: somebody else's object has the name of the request.
	CodeForeignRequest = "foreign-csr"
	// CodeRequestGone: the request was deleted before it came to anything.
	CodeRequestGone = "csr-gone"
	// CodeRefused: what was issued is not what was asked for.
	CodeRefused = "certificate-refused"
	// CodeClock: what was issued is not valid by this leader's clock.
	CodeClock = "clock"
	// CodeNamespaceTerminating: the namespace is being deleted, which has to end first.
	CodeNamespaceTerminating = "namespace-terminating"
	// CodeNamespaceMissing: a permission is for a namespace that is not there.
	CodeNamespaceMissing = "namespace-missing"
	// CodeLabelTaken: a label of a namespace that we did not make is set by somebody else.
	CodeLabelTaken = "label-taken"
	// CodeApplyFailed: Kubernetes does not take an object as it is.
	CodeApplyFailed = "apply-failed"
	// CodeStuck: something of a terminated cloud stays in the cluster.
	CodeStuck = fsm.CodeStuck
	// CodeInternal: this cluster of ours could not do its part; its log has more.
	CodeInternal = "internal"
	// CodeKubeconfig: the registered kubeconfig can not be used.
	CodeKubeconfig = "kubeconfig-invalid"
	// CodeDenied: the request was denied, for good.
	CodeDenied = "denied"
	// CodeFailed: the signer refused the request, for good.
	CodeFailed = "failed"
)

// maxDetail bounds a reason's words, in bytes, to what the state keeps.
const maxDetail = 1024

// reason is why something waits; the zero value is none.
type reason struct{ code, detail string }

// waiting is a reason that is an error too.
type waiting struct {
	reason
	err error // may be nil
}

// Error implements error.
func (w *waiting) Error() string { return w.code + ": " + w.detail }

// Unwrap implements the interface of package errors.
func (w *waiting) Unwrap() error { return w.err }

func waitFor(code, format string, args ...any) error {
	return &waiting{reason: reason{code, fmt.Sprintf(format, args...)}}
}

// explain finds the reason in an error of Kubernetes, or of ours; none in nil. Its words do not
// change while the reason does not, so that they are told once.
func explain(err error) reason {
	r := found(err)
	r.detail = strings.ToValidUTF8(r.detail[:min(len(r.detail), maxDetail)], "")
	return r
}

func found(err error) reason {
	var w *waiting
	var refusal *fsm.Refusal
	status := apierrors.APIStatus(nil)
	switch {
	case err == nil:
		return reason{}
	case errors.As(err, &w):
		return w.reason
	case errors.Is(err, node.ErrSealed):
		return reason{CodeSealed, "this leader can not open the cluster's secrets: " + err.Error()}
	case errors.As(err, &refusal), errors.Is(err, node.ErrUnknownOutcome), errors.Is(err, node.ErrNotLeader):
		return reason{CodeInternal, err.Error()}
	case errors.As(err, &status):
		return ofStatus(err, status)
	}
	why := unanswered.Because(err)
	if why.Unproven {
		return reason{CodeAuthority, why.Detail}
	}
	return reason{CodeUnreachable, why.Detail}
}

// ofStatus is what an API server says.
func ofStatus(err error, status apierrors.APIStatus) reason {
	code, message := status.Status().Code, status.Status().Message
	switch {
	case apierrors.IsUnauthorized(err):
		return reason{CodeUnauthorized, "the API server does not accept the registered credential (401): register the cluster's kubeconfig again"}
	case apierrors.HasStatusCause(err, core.NamespaceTerminatingCause):
		return reason{CodeNamespaceTerminating, message}
	case apierrors.IsForbidden(err):
		return reason{CodeForbidden, message}
	case code >= 500 || code == 429 || code == 0:
		return reason{CodeUnreachable, fmt.Sprintf("the API server answers %d: %s", code, message)}
	default:
		return reason{CodeApplyFailed, message}
	}
}

// isAway reports whether a reason is one of the whole cluster.
func (r reason) isAway() bool {
	return r.code == CodeUnreachable || r.code == CodeAuthority || r.code == CodeUnauthorized || r.code == CodeOtherCluster
}
