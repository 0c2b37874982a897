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
	if err == nil && lease.DurationMs < 1 {
		err = fmt.Errorf("%w: a lease of %d ms", ErrAnswer, lease.DurationMs)
	}
	if err != nil {
		return wire.Lease{}, fmt.Errorf("lease of pod %s/%s: %w", namespace, pod, err)
	}
	return lease, nil
}
