package client

import (
	"context"
	"crypto/hpke"
	"errors"
	"fmt"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

const (
	// holdFor is how long each request waits at the server by default.
	holdFor = 20 * time.Second
	// pollPause is kept between two requests of which the first came back early.
	pollPause = 250 * time.Millisecond
	// maxPollPause bounds what a server may ask for between two requests.
	maxPollPause = 10 * time.Second
)

// AllocateOptions say for whom keys are asked.
type AllocateOptions struct {
	Namespace, Pod, PodUID string
	// Keys is how many the pod is to hold in all.
	Keys int64
	// KEM is the HPKE suite: ML-KEM-768 with X25519 if zero.
	KEM wire.RecipientKem
	// ClusterID is the only cluster whose answer is accepted; empty for whichever answers.
	ClusterID string
	// MinFence is the highest fence of this allocation that the caller has seen
	// before; an answer with a lower one is refused. 0 if none.
	MinFence int64
	// Has are keys that the caller has of this pod from before. If they are no longer
	// all the pod's, ErrKeysLost is returned before any new ones are asked, and paid,
	// for. Those that are retired are told in KeySet.Retired instead.
	Has []validator.PublicKey
	// SlashingProtection is the caller's word that it imports the watermarks of the
	// answer before it signs.
	SlashingProtection bool
	// Hold is how long the server holds each request while keys are on their way, at
	// most a minute: 20 s if zero. It answers at once when the keys are there;
	// progress is told once per Hold.
	Hold time.Duration
}

// Progress is told while keys are on their way. One of the two is nil.
type Progress struct {
	// Pending is the server's last word.
	Pending *wire.PendingAllocation
	// Trouble is why no server answers at present. The call goes on.
	Trouble error
}

// PendingError says that time ran out while keys were on their way; it wraps the
// context's error. Asking again goes on where this ended.
type PendingError struct {
	Pending wire.PendingAllocation
	Cause   error
}

// Error gives the counts and the reason for which the keys were waiting.
func (e *PendingError) Error() string {
	p := e.Pending
	what := fmt.Sprintf("%d of %d keys are", p.Keys-p.Held-p.Ready, p.Keys)
	if p.Keys == 1 {
		what = "the key is"
	}
	return fmt.Sprintf("%s not there yet: %s (%s): %v", what, p.Reason.Detail, p.Reason.Code, e.Cause)
}

// Unwrap returns the context's error.
func (e *PendingError) Unwrap() error { return e.Cause }

// AllocateKeys asks for keys until the pod has them or ctx ends, whatever servers
// do meanwhile, and opens their secrets. Every secret was checked against the
// public key named for it, and the answer against the request: see ErrAnswer. The
// error is a PendingError if keys were on their way when ctx ended, and wraps
// ErrRefused if nothing was asked for. The caller zeroes the keys.
func (c *Client) AllocateKeys(ctx context.Context, options AllocateOptions, progress func(Progress)) (*KeySet, error) {
	ctx = identified(ctx) // all of it is one request to who reads the log
	if progress == nil {
		progress = func(Progress) {}
	}
	if options.KEM == 0 {
		options.KEM = wire.KEMMLKEM768X25519
	}
	if options.Hold <= 0 || options.Hold > maxWait {
		options.Hold = holdFor
	}
	request := wire.AllocationRequest{Namespace: options.Namespace, Pod: options.Pod, PodUID: options.PodUID, Keys: options.Keys, SlashingProtection: options.SlashingProtection}
	if err := checkRequest(request); err != nil {
		return nil, refused{err}
	}
	private, recipient, err := wire.NewRecipient(options.KEM)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	request.Recipient = recipient
	manners := call{patient: true, trouble: func(err error) { progress(Progress{Trouble: err}) }}
	clusterID, err := c.clusterID(ctx, manners)
	if err == nil && options.ClusterID != "" && clusterID != options.ClusterID {
		err = fmt.Errorf("%w: it comes from cluster %q, earlier ones from %q", ErrAnswer, clusterID, options.ClusterID)
	}
	var over Retired
	if err == nil {
		over, err = c.checkStillHeld(ctx, request, options.Has, manners)
	}
	if err != nil {
		return nil, ifRefused(err, false)
	}
	allocation, err := c.awaitAllocation(ctx, request, options.Hold, manners, progress)
	if err != nil {
		return nil, err
	}
	if err := c.addRetiredMeanwhile(ctx, &over, options.Has, *allocation, manners); err != nil {
		return nil, err
	}
	set, err := c.open(private, clusterID, request, options.MinFence, *allocation)
	if err != nil {
		return nil, err
	}
	set.Retired = over
	return set, nil
}

// awaitAllocation repeats the request until it is granted. The first one is not
// held, so that whoever waits is told at once what for.
func (c *Client) awaitAllocation(ctx context.Context, request wire.AllocationRequest, hold time.Duration, manners call, progress func(Progress)) (*wire.Allocation, error) {
	var pending *wire.PendingAllocation
	for wait := time.Duration(0); ; wait = hold {
		began := c.config.Clock.Now()
		answer, err := c.allocate(ctx, request, wait, manners)
		if err != nil {
			return nil, stillPending(ctx, pending, ifRefused(err, answer.uncertain || pending != nil))
		}
		if answer.allocation != nil {
			return answer.allocation, nil
		}
		pending = answer.pending
		progress(Progress{Pending: pending})
		pause := min(max(answer.retryAfter, pollPause), maxPollPause)
		if c.config.Clock.Now().Sub(began) >= wait {
			pause = 0 // the server held it as long as it was asked to
		}
		if err := c.config.Clock.Sleep(ctx, pause); err != nil {
			return nil, stillPending(ctx, pending, err)
		}
	}
}

// stillPending turns the end of the context into a PendingError if keys were on
// their way at the last word.
func stillPending(ctx context.Context, pending *wire.PendingAllocation, err error) error {
	if pending == nil || ctx.Err() == nil {
		return err
	}
	return &PendingError{Pending: *pending, Cause: ctx.Err()}
}

// errNotFounded says that the nodes have not found each other yet. It passes.
var errNotFounded = errors.New("the cluster is not founded yet")

// clusterID asks for the ID of the cluster until there is one. Once known, another
// one is refused: secrets are bound to it.
func (c *Client) clusterID(ctx context.Context, manners call) (string, error) {
	for {
		cluster, _, err := c.clusterBy(ctx, manners)
		if err != nil {
			return "", err
		}
		if cluster.ClusterID != "" {
			return cluster.ClusterID, c.pin(cluster.ClusterID)
		}
		manners.trouble(errNotFounded)
		if err := c.config.Clock.Sleep(ctx, time.Second); err != nil {
			return "", fmt.Errorf("%w: %w: %w", ErrUnavailable, errNotFounded, err)
		}
	}
}

// pin remembers the cluster's ID and refuses another one.
func (c *Client) pin(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cluster != "" && c.cluster != id {
		return fmt.Errorf("%w: it comes from cluster %q, earlier ones from %q", ErrAnswer, id, c.cluster)
	}
	c.cluster = id
	return nil
}

// open decrypts and checks a granted allocation.
func (c *Client) open(private hpke.PrivateKey, clusterID string, asked wire.AllocationRequest, minFence int64, a wire.Allocation) (*KeySet, error) {
	id := podID{asked.Namespace, asked.Pod, asked.PodUID}
	c.mu.Lock()
	minFence = max(minFence, c.fences[id])
	c.mu.Unlock()
	if err := checkAllocation(clusterID, asked, minFence, a); err != nil {
		return nil, err
	}
	set, err := openSecrets(private, clusterID, asked, a)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fences[id] = max(a.Fence, c.fences[id])
	return set, nil
}
