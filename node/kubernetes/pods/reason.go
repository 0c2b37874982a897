package pods

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keysteward/keysteward/node/kubernetes/unanswered"
)

// Why nothing is known of pods: codes of [Status]. They are stable.
const (
	// CodeStarting: pods have not been listed yet.
	CodeStarting = "starting"
	// CodeUnreachable: the API server gives no answer, or none that is of use.
	CodeUnreachable = "kubernetes-unreachable"
	// CodeAuthority: the API server does not prove to be the one of the configuration.
	CodeAuthority = "kubernetes-authority"
	// CodeUnauthorized: the API server does not know the credential (401).
	CodeUnauthorized = "kubernetes-unauthorized"
	// CodeForbidden: the credential lacks a permission, which the detail names.
	CodeForbidden = "kubernetes-forbidden"
	// CodeContradiction: the API server lists no pod that it has when asked for it.
	CodeContradiction = "kubernetes-contradiction"
	// CodeNotFollowed: pods that hold keys are in namespaces that are not followed.
	CodeNotFollowed = "namespaces-not-followed"
)

// reason is why something is not as it should be; the zero value is none.
type reason struct{ code, detail string }

// explain finds the reason in an error of Kubernetes; none in nil. Its words do not change
// while the reason does not, so that they are told once.
func explain(err error) reason {
	if err == nil {
		return reason{}
	}
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		why := unanswered.Because(err)
		if why.Unproven {
			return reason{CodeAuthority, why.Detail}
		}
		return reason{CodeUnreachable, why.Detail}
	}
	switch code, message := status.Status().Code, status.Status().Message; {
	case apierrors.IsUnauthorized(err):
		return reason{CodeUnauthorized, "the API server does not accept this server's credential (401)"}
	case apierrors.IsForbidden(err):
		return reason{CodeForbidden, "this server's account lacks a permission: " + message}
	default:
		return reason{CodeUnreachable, fmt.Sprintf("the API server answers %d: %s", code, message)}
	}
}
