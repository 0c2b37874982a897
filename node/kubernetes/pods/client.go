package pods

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

const (
	dialTimeout    = 5 * time.Second
	requestTimeout = 10 * time.Second
)

// client reaches one Kubernetes.
type client struct {
	asked     coreclient.CoreV1Interface // each request ends in time
	watched   coreclient.CoreV1Interface // without a time-out
	transport http.RoundTripper
}

func newClient(from *rest.Config, wrap func(http.RoundTripper) http.RoundTripper) (*client, error) {
	config := rest.CopyConfig(from)
	config.Timeout, config.QPS = 0, -1 // who asks has bounds of its own
	config.UserAgent = "keysteward"
	config.WarningHandler = rest.NoWarnings{}
	config.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: dialTimeout}).DialContext
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	if wrap != nil {
		config.Wrap(wrap)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	c := &client{transport: transport}
	if c.asked, err = coreclient.NewForConfigAndClient(config, &http.Client{Transport: transport, Timeout: requestTimeout}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if c.watched, err = coreclient.NewForConfigAndClient(config, &http.Client{Transport: transport}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return c, nil
}

// close ends the connections that nobody uses.
func (c *client) close() { utilnet.CloseIdleConnectionsFor(c.transport) }

// identity is the UID of the namespace kube-system, which is made with a Kubernetes and
// is never deleted. It is read from etcd and not from a cache.
func (c *client) identity(ctx context.Context) (string, error) {
	ns, err := c.asked.Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("which Kubernetes is it: %w", err)
	}
	if ns.UID == "" {
		return "", fmt.Errorf("which Kubernetes is it: the namespace %s has no UID", metav1.NamespaceSystem)
	}
	return string(ns.UID), nil
}

// pod reads a pod by a consistent read.
func (c *client) pod(ctx context.Context, namespace, name string) (*core.Pod, error) {
	return c.asked.Pods(namespace).Get(ctx, name, metav1.GetOptions{}) //nolint:wrapcheck // the caller tells not found apart
}
