package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keysteward/keysteward/api/wire"
)

const (
	pathAllocations = "/v1/allocations"
	pathAssignments = "/assignments"

	// maxWait is how long a server holds a request at most.
	maxWait = time.Minute
)

// Allocate asks once for keys for a pod, and lets the server hold the request for
// wait, at most a minute, while keys are on their way. Exactly one of allocation,
// pending and error is not nil; while there is a pending allocation the call is to
// be repeated. Secrets stay sealed: AllocateKeys is the call that opens them.
func (c *Client) Allocate(ctx context.Context, request wire.AllocationRequest, wait time.Duration) (*wire.Allocation, *wire.PendingAllocation, error) {
	answer, err := c.allocate(ctx, request, wait, call{})
	return answer.allocation, answer.pending, err
}

// granted is the answer to one POST of an allocation.
type granted struct {
	allocation *wire.Allocation
	pending    *wire.PendingAllocation
	retryAfter time.Duration
	// uncertain says, also beside an error, that an earlier try may have been carried out.
	uncertain bool
}

// allocate is Allocate with the manners of q.
func (c *Client) allocate(ctx context.Context, request wire.AllocationRequest, wait time.Duration, q call) (granted, error) {
	var answer granted
	if err := checkRequest(request); err != nil {
		return answer, err
	}
	body, err := encode(request)
	if err != nil {
		return answer, err
	}
	q.method, q.path, q.body = http.MethodPost, pathAllocations, body
	if wait = min(wait, maxWait); wait > 0 {
		q.wait, q.query = wait, url.Values{"wait": {wait.String()}}
	}
	r, err := c.do(ctx, q)
	answer.uncertain = r.uncertain
	if err != nil {
		return answer, fmt.Errorf("allocate keys for pod %s/%s: %w", request.Namespace, request.Pod, err)
	}
	switch r.status {
	case http.StatusOK:
		allocation, err := decode[wire.Allocation](r)
		if err == nil {
			answer.allocation = &allocation
		}
		return answer, err
	case http.StatusAccepted:
		pending, err := decode[wire.PendingAllocation](r)
		if err == nil {
			answer.pending, answer.retryAfter = &pending, retryAfter(r.header)
		}
		return answer, err
	default:
		return answer, fmt.Errorf("%w: status %d for an allocation", ErrAnswer, r.status)
	}
}

// ReleaseOptions say what is to be released.
type ReleaseOptions struct {
	Namespace, Pod string
	// PodUID is the UID that is meant: with it no other UID of the pod's name is
	// touched, whatever the fence. It may be empty unless ConfirmStopped is set.
	PodUID string
	// Fence names the allocation that is meant; 0 withdraws a request that waits.
	Fence int64
	// ConfirmStopped is the caller's word that the holder is stopped for good.
	ConfirmStopped bool
}

func (o ReleaseOptions) check() error {
	if o.PodUID != "" {
		return CheckPodUID(o.PodUID)
	}
	if o.ConfirmStopped { // the word would be taken for whoever comes next under this name
		return fmt.Errorf("%w: that pod %s/%s is stopped can be confirmed for a UID only", ErrRequest, o.Namespace, o.Pod)
	}
	return nil
}

// Release takes the keys of a pod back. A Problem of type stale-fence says that the
// allocation has changed since, not-found that there is none, or none of this UID.
func (c *Client) Release(ctx context.Context, o ReleaseOptions) error {
	q, err := podCall(http.MethodDelete, o.Namespace, o.Pod)
	if err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	q.query = url.Values{"fence": {strconv.FormatInt(o.Fence, 10)}}
	if o.PodUID != "" {
		q.query.Set("podUid", o.PodUID)
	}
	if o.ConfirmStopped {
		q.query.Set("confirmStopped", "true")
	}
	r, err := c.do(ctx, q)
	if err != nil && r.uncertain {
		err = c.wasReleased(ctx, o, err)
	}
	if err != nil {
		return fmt.Errorf("release the keys of pod %s/%s: %w", o.Namespace, o.Pod, err)
	}
	return nil
}

// wasReleased finds out whether an earlier try, whose answer was lost, has done
// what a later one found nothing left to do for.
func (c *Client) wasReleased(ctx context.Context, o ReleaseOptions, refusal error) error {
	switch {
	case IsType(refusal, TypeNotFound):
		return nil
	case !IsType(refusal, TypeStaleFence):
		return refusal
	}
	status, err := c.Allocation(ctx, o.Namespace, o.Pod)
	if IsType(err, TypeNotFound) || err == nil && o.PodUID != "" && status.Allocation.PodUID != o.PodUID {
		return nil
	}
	if err != nil {
		return errors.Join(refusal, err)
	}
	// Where the word of the caller counts nothing would rest.
	if status.Allocation.State == wire.AllocationStateResting && !o.ConfirmStopped {
		return nil
	}
	return refusal
}

// Allocation returns what a pod holds and waits for. A part that there is not has
// an empty cluster ID. A Problem of type not-found says that there is neither.
func (c *Client) Allocation(ctx context.Context, namespace, pod string) (wire.PodStatus, error) {
	return c.podStatus(ctx, namespace, pod, call{})
}

// podStatus is Allocation with the manners of others.
func (c *Client) podStatus(ctx context.Context, namespace, pod string, manners call) (wire.PodStatus, error) {
	q, err := podCall(http.MethodGet, namespace, pod)
	if err != nil {
		return wire.PodStatus{}, err
	}
	q.patient, q.trouble = manners.patient, manners.trouble
	status, err := get[wire.PodStatus](ctx, c, q)
	if err != nil {
		return status, fmt.Errorf("allocation of pod %s/%s: %w", namespace, pod, err)
	}
	return status, nil
}

// Assignments returns which pod holds which keys, sorted by namespace and pod.
// Stale answers come from any node and say their age.
func (c *Client) Assignments(ctx context.Context, consistency wire.Consistency) (wire.Assignments, error) {
	q := call{method: http.MethodGet, path: pathAssignments, limit: maxList}
	q.query = url.Values{"consistency": {string(consistency)}}
	assignments, err := get[wire.Assignments](ctx, c, q)
	if err != nil {
		return assignments, fmt.Errorf("assignments: %w", err)
	}
	return assignments, nil
}

// podCall is a call about the allocation of one pod.
func podCall(method, namespace, pod string) (call, error) {
	if err := CheckPod(namespace, pod); err != nil {
		return call{}, err
	}
	return call{method: method, path: pathAllocations + "/" + namespace + "/" + pod}, nil
}

// get sends a call and decodes its answer.
func get[T any](ctx context.Context, c *Client, q call) (T, error) {
	r, err := c.do(ctx, q)
	if err != nil {
		var none T
		return none, err
	}
	return decode[T](r)
}
