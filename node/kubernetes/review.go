package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	authentication "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"golang.org/x/time/rate"

	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

// InCluster is the name of the configuration that every pod finds in its own
// file system.
const InCluster = "in-cluster"

// ErrConfig is wrapped by errors about how to reach Kubernetes.
var ErrConfig = errors.New("no usable configuration of Kubernetes")

// requestTimeout bounds one request to Kubernetes, whoever makes it.
const requestTimeout = 10 * time.Second

// Extra fields of a reviewed service account (KEP-1205, KEP-4193).
const (
	extraPodName = "authentication.kubernetes.io/pod-name"
	extraPodUID  = "authentication.kubernetes.io/pod-uid"
)

const serviceAccountPrefix = "system:serviceaccount:"

// Config says how to reach the API of Kubernetes: with the file of a kubeconfig, or
// [InCluster]. Errors wrap [ErrConfig]; nothing is sent yet. One that would believe
// any server is refused: whoever answers in Kubernetes' place says which pods there are.
func Config(source string) (*rest.Config, error) {
	var config *rest.Config
	var err error
	if source == InCluster {
		config, err = rest.InClusterConfig()
	} else {
		config, err = clientcmd.BuildConfigFromFlags("", source)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, source, err)
	}
	if err := secured(config); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, source, err)
	}
	config.Timeout = requestTimeout
	config.QPS = -1 // who asks has bounds of its own
	config.UserAgent = "keysteward"
	return config, nil
}

// secured refuses a server that need not prove who it is, but on this machine.
func secured(config *rest.Config) error {
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return fmt.Errorf("address of the server: %w", err)
	}
	address, err := netip.ParseAddr(server.Hostname())
	here := server.Hostname() == "localhost" || err == nil && address.IsLoopback()
	switch {
	case config.Insecure:
		return errors.New("insecure-skip-tls-verify would believe any server: name its authority")
	case server.Scheme != "https" && !here:
		return fmt.Errorf("%s://%s is not secured by TLS", server.Scheme, server.Host)
	}
	return nil
}

// Reviewer has tokens of pods checked by Kubernetes' TokenReview
// (authentication.k8s.io/v1). It keeps nothing.
type Reviewer struct {
	reviews  client.TokenReviewInterface
	audience string
	log      *slog.Logger
	// trouble bounds how often the log says that Kubernetes does not answer.
	trouble *rate.Limiter
}

// NewReviewer returns a reviewer for tokens of the audience. The account of the
// configuration needs the right to create tokenreviews, which the cluster role
// system:auth-delegator gives.
func NewReviewer(config *rest.Config, audience string, log *slog.Logger) (*Reviewer, error) {
	c, err := client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return &Reviewer{reviews: c.TokenReviews(), audience: audience, log: log, trouble: rate.NewLimiter(rate.Every(10*time.Second), 1)}, nil
}

// Review implements [podtoken.Reviewer].
func (r *Reviewer) Review(ctx context.Context, token string) (podtoken.Pod, error) {
	review, err := r.reviews.Create(ctx, &authentication.TokenReview{
		Spec: authentication.TokenReviewSpec{Token: token, Audiences: []string{r.audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		if r.trouble.Allow() {
			r.log.Warn("Kubernetes does not review the tokens of pods; they are turned away meanwhile", "error", why(err))
		}
		return podtoken.Pod{}, fmt.Errorf("%w: Kubernetes does not answer: %s", podtoken.ErrUnavailable, why(err))
	}
	return r.podOf(review.Status)
}

// why is an error of the client without what it may repeat of the request.
func why(err error) string {
	if reason := apierrors.ReasonForError(err); reason != metav1.StatusReasonUnknown {
		return string(reason)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	default:
		return "no connection"
	}
}

// podOf takes the pod's name and UID from nothing but the review.
func (r *Reviewer) podOf(status authentication.TokenReviewStatus) (podtoken.Pod, error) {
	refuse := func(format string, args ...any) (podtoken.Pod, error) {
		return podtoken.Pod{}, fmt.Errorf("%w: %s", podtoken.ErrRefused, fmt.Sprintf(format, args...))
	}
	if !status.Authenticated {
		return refuse("Kubernetes does not know it: it has expired, was altered, or its pod is gone")
	}
	if !slices.Contains(status.Audiences, r.audience) { // an old API server ignores them
		return refuse("it is for another audience than %q", r.audience)
	}
	account, found := strings.CutPrefix(status.User.Username, serviceAccountPrefix)
	namespace, name, both := strings.Cut(account, ":")
	if !found || !both || namespace == "" || name == "" {
		return refuse("it is not that of a service account")
	}
	podName, podUID := status.User.Extra[extraPodName], status.User.Extra[extraPodUID]
	if len(podName) != 1 || len(podUID) != 1 || podName[0] == "" || podUID[0] == "" {
		return refuse("it is not bound to a pod")
	}
	return podtoken.Pod{Namespace: namespace, Name: podName[0], UID: podUID[0], ServiceAccount: name}, nil
}
