package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/keysteward/keysteward/api/wire"
)

// RenewLease begins or renews the lease of the keys of a pod's UID. Whoever calls it
// promises that nothing of the pod signs once half of the lease's duration has passed
// since the call began. A Problem of type stale-fence or not-found says that the keys
// are not the pod's any more, one of type leases-off that the servers know no leases.
// A fence of 0 means whichever allocation the UID holds.
func (c *Client) RenewLease(ctx context.Context, namespace, pod, podUID string, fence int64) (wire.Lease, error) {
	q, err := podCall(http.MethodPost, namespace, pod)
	if err != nil {
		return wire.Lease{}, err
	}
	if err := CheckPodUID(podUID); err != nil {
		return wire.Lease{}, err
	}
	q.path += "/lease"
	q.query = url.Values{"podUid": {podUID}}
	if fence > 0 {
		q.query.Set("fence", strconv.FormatInt(fence, 10))
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
