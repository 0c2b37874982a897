package clouds

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	certificates "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	certificatesclient "k8s.io/client-go/kubernetes/typed/certificates/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	rbacclient "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/keysteward/keysteward/node/kubernetes/certificate"
	"github.com/keysteward/keysteward/node/kubernetes/kubeconfig"
)

const (
	dialTimeout    = 5 * time.Second
	requestTimeout = 15 * time.Second
	// resync is how often everything that waits looks at what the watch has seen,
	// should it have missed that.
	resync = time.Minute
	// maxRetrySteps is more than it takes to double the shortest pause up to the longest.
	maxRetrySteps = 30
)

// connection is a client of one Kubernetes cluster, with one registered kubeconfig.
type connection struct {
	requests certificatesclient.CertificateSigningRequestInterface
	core     coreclient.CoreV1Interface
	rbac     rbacclient.RbacV1Interface
	metadata metadata.Interface

	watched   certificatesclient.CertificateSigningRequestInterface // without a time-out
	selector  string
	seen      *sightings
	transport http.RoundTripper
	life      context.Context //nolint:containedctx // ends when another connection takes its place
	cluster   kubeconfig.Cluster
}

// connect makes the clients; nothing is sent yet. The kubeconfig is the caller's.
func connect(canonical []byte, clusterID string, wrap func(http.RoundTripper) http.RoundTripper) (*connection, error) {
	cluster, err := kubeconfig.Parse(canonical)
	if err != nil {
		return nil, waitFor(CodeKubeconfig, "%v", err)
	}
	config, err := cluster.Config()
	if err != nil {
		return nil, waitFor(CodeKubeconfig, "%v", err)
	}
	c := &connection{cluster: cluster, seen: newSightings(), selector: ours(clusterID)}
	bound(config)
	if wrap != nil {
		config.Wrap(wrap)
	}
	if c.transport, err = rest.TransportFor(config); err == nil {
		err = c.clients(config)
	}
	if err != nil {
		return nil, waitFor(CodeKubeconfig, "%v", err)
	}
	return c, nil
}

// ours selects what this cluster of ours made.
func ours(clusterID string) string {
	return certificate.LabelManagedBy + "=" + certificate.ManagedBy + "," + certificate.LabelClusterID + "=" + clusterID
}

// bound bounds what the kubeconfig leaves open. How much is asked at once is bounded
// by who asks.
func bound(config *rest.Config) {
	config.QPS, config.UserAgent = -1, certificate.FieldManager
	config.WarningHandler = rest.NoWarnings{}
	config.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: dialTimeout}).DialContext
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
}

func (c *connection) clients(config *rest.Config) error {
	short := &http.Client{Transport: c.transport, Timeout: requestTimeout}
	requests, err := certificatesclient.NewForConfigAndClient(config, short)
	if err != nil {
		return err //nolint:wrapcheck // the caller says what it is about
	}
	long, err := certificatesclient.NewForConfigAndClient(config, &http.Client{Transport: c.transport})
	if err != nil {
		return err //nolint:wrapcheck // the same
	}
	c.requests, c.watched = requests.CertificateSigningRequests(), long.CertificateSigningRequests()
	if c.core, err = coreclient.NewForConfigAndClient(config, short); err != nil {
		return err //nolint:wrapcheck // the same
	}
	if c.rbac, err = rbacclient.NewForConfigAndClient(config, short); err != nil {
		return err //nolint:wrapcheck // the same
	}
	c.metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(config), short)
	return err //nolint:wrapcheck // the same
}

// close ends the connections that nobody uses.
func (c *connection) close() { utilnet.CloseIdleConnectionsFor(c.transport) }

// watch keeps what was seen of our requests up to date until ctx ends. After each try
// to list or watch it tells how that went: nil while the watch is well.
func (c *connection) watch(ctx context.Context, retryMin, retryMax time.Duration, tell func(error)) {
	said := func(err error) {
		if ctx.Err() == nil {
			tell(err)
		}
	}
	lister := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = c.selector
			list, err := c.requests.List(ctx, o)
			if err != nil {
				said(err)
				return nil, fmt.Errorf("list certificate signing requests: %w", err)
			}
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = c.selector
			w, err := c.watched.Watch(ctx, o)
			said(err)
			return w, err //nolint:wrapcheck // the reflector tells errors apart
		},
	}
	quiet := klog.Logger{} // has no sink
	cache.NewReflectorWithOptions(lister, &certificates.CertificateSigningRequest{}, c.seen, cache.ReflectorOptions{
		Logger: &quiet, Name: "requests", ResyncPeriod: resync,
		Backoff: &wait.Backoff{Duration: retryMin, Cap: retryMax, Factor: 2, Jitter: 0.5, Steps: maxRetrySteps},
	}).RunWithContext(klog.NewContext(ctx, quiet))
}
