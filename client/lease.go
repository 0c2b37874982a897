package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/keysteward/keysteward/api/wire"
)

// RenewLease renews the lease of the keys of a pod's UID, and with begin it begins one
// if there is none; without, it tells how long it would last. Whoever has one promises
// that nothing of the pod signs once half of its duration has passed since the call
// began, answered or not. A Problem of type not-the-holder says that the keys are not
// the pod's any more, one of type leases-off that the servers know no leases. A cluster
// other than the one that answered before is an error.
func (c *Client) RenewLease(ctx context.Context, namespace, pod, podUID string, begin bool) (wire.Lease, error) {
	q, err := podCall(http.MethodPost, namespace, pod)
	if err != nil {
		return wire.Lease{}, err
	}
	if err := CheckPodUID(podUID); err != nil {
		return wire.Lease{}, err
	}
	q.path += "/lease"
	q.query = url.Values{"podUid": {podUID}}
	if begin {
		q.query.Set("begin", "true")
	}
	lease, err := get[wire.Lease](ctx, c, q)
	switch {
	case IsType(err, TypeNotTheHolder):
		err = c.confirmCluster(ctx, err)
	case err == nil && lease.DurationMs < 1:
		err = fmt.Errorf("%w: a lease of %d ms", ErrAnswer, lease.DurationMs)
	case err == nil:
		err = c.pin(lease.ClusterID)
	}
	if err != nil {
		return wire.Lease{}, fmt.Errorf("lease of pod %s/%s: %w", namespace, pod, err)
	}
	return lease, nil
}

// confirmCluster returns a refusal if it is the word of the cluster that answered
// before. Another one knows nothing of its pods.
func (c *Client) confirmCluster(ctx context.Context, refusal error) error {
	c.mu.Lock()
	known := c.cluster
	c.mu.Unlock()
	if known == "" {
		return refusal
	}
	id, err := c.clusterID(ctx, call{trouble: func(error) {}})
	if err != nil {
		return fmt.Errorf("which cluster refuses a lease: %w", err)
	}
	if id != known {
		return fmt.Errorf("%w: it comes from cluster %q, earlier ones from %q", ErrAnswer, id, known)
	}
	return refusal
}
