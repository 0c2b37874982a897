package podtoken

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/keysteward/keysteward/node/failpoint"
)

// Bounds of a [Cache].
const (
	// KeepAccepted is how long an answer that lets a pod in is kept at most: so long
	// may the token of a deleted pod go on being accepted.
	KeepAccepted = 10 * time.Second
	// KeepRefused is how long a refusal is kept.
	KeepRefused = 2 * time.Second
	// maxKept answers are kept; with more tokens than that the oldest are asked
	// about again.
	maxKept = 20_000
	// reviewTimeout bounds one review.
	reviewTimeout = 5 * time.Second
	// reviewRate and reviewBurst bound the reviews per second, atOnce those under way.
	reviewRate  = 500
	reviewBurst = 1000
	atOnce      = 64
)

// Cache asks a [Reviewer] at most once at a time about a token, and keeps its
// answers for a moment under the token's hash. Tokens are never kept.
type Cache struct {
	reviewer Reviewer
	audience string
	limiter  *rate.Limiter
	slots    chan struct{}

	mu    sync.Mutex
	kept  map[[sha256.Size]byte]*answer
	order [][sha256.Size]byte // as they were asked, oldest first
	let   map[[sha256.Size]byte]vouched
}

// vouched is a pod that was let in, by a token that ends.
type vouched struct {
	pod     Pod
	expires time.Time
}

// Recall returns the pod whose token Kubernetes vouched for before, until the token
// ends; after that, and of a token that was refused since, nothing is known. It is for
// calls that only ever keep a pod in its place, while Kubernetes can not be asked.
func (c *Cache) Recall(token string) (Pod, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, known := c.let[sha256.Sum256([]byte(token))]
	return v.pod, known && failpoint.Now().Before(v.expires)
}

// remember keeps what an answer says of a token in the long run.
func (c *Cache) remember(token string, a *answer, expires time.Time) {
	key, now := sha256.Sum256([]byte(token)), failpoint.Now()
	switch {
	case errors.Is(a.err, ErrRefused):
		delete(c.let, key)
	case a.err == nil:
		c.let[key] = vouched{a.pod, expires}
	}
	for old, v := range c.let {
		if len(c.let) <= maxKept {
			return
		}
		if old != key && (!now.Before(v.expires) || len(c.let) > maxKept) {
			delete(c.let, old)
		}
	}
}

// answer is one that is under way until done is closed.
type answer struct {
	done  chan struct{}
	pod   Pod
	err   error
	until time.Time // when it is forgotten
}

// NewCache returns a cache in front of the reviewer, for tokens of the audience.
func NewCache(reviewer Reviewer, audience string) *Cache {
	return &Cache{
		reviewer: reviewer, audience: audience,
		limiter: rate.NewLimiter(reviewRate, reviewBurst), slots: make(chan struct{}, atOnce),
		kept: make(map[[sha256.Size]byte]*answer), let: make(map[[sha256.Size]byte]vouched),
	}
}

// Look refuses, with an error that wraps [ErrRefused], a token that no review is
// worth. It asks nobody.
func (c *Cache) Look(token string) error {
	_, err := Look(token, c.audience, failpoint.Now())
	return err
}

// Review implements [Reviewer]: it looks at the token, then at what is known of
// it, and asks only then.
func (c *Cache) Review(ctx context.Context, token string) (Pod, error) {
	expires, err := Look(token, c.audience, failpoint.Now())
	if err != nil {
		return Pod{}, err
	}
	key := sha256.Sum256([]byte(token))
	for {
		a, mine := c.join(key)
		if mine {
			c.ask(ctx, a, token, expires)
			return a.pod, a.err
		}
		select {
		case <-a.done:
			return a.pod, a.err
		case <-ctx.Done():
			return Pod{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
}

// join returns the answer about a token that is known or under way; mine says that
// there was none, and that the caller has to ask.
func (c *Cache) join(key [sha256.Size]byte) (a *answer, mine bool) {
	now := failpoint.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if a = c.kept[key]; a != nil && (a.until.IsZero() || now.Before(a.until)) {
		return a, false
	}
	fresh := a == nil
	a = &answer{done: make(chan struct{})}
	c.kept[key] = a
	if fresh {
		c.order = append(c.order, key)
	}
	c.forget(now)
	return a, true
}

// forget drops answers that are over from the old end, and beyond the bound those
// that are not.
func (c *Cache) forget(now time.Time) {
	for len(c.order) > 0 {
		oldest := c.kept[c.order[0]]
		over := !oldest.until.IsZero() && !now.Before(oldest.until)
		if !over && len(c.order) <= maxKept {
			return
		}
		delete(c.kept, c.order[0])
		c.order = c.order[1:]
	}
}

// ask asks the reviewer. Others may wait for the answer, so it does not end with
// the call that happened to come first.
func (c *Cache) ask(ctx context.Context, a *answer, token string, expires time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reviewTimeout)
	defer cancel()
	pod, err := c.review(ctx, token)
	now := failpoint.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(a.done)
	a.pod, a.err = pod, err
	c.remember(token, a, expires)
	switch {
	case err == nil:
		a.until = now.Add(KeepAccepted)
		if expires.Before(a.until) {
			a.until = expires
		}
	case errors.Is(err, ErrRefused):
		a.until = now.Add(KeepRefused)
	default: // asked again by whoever comes next
		a.until = now
	}
	if a.until.IsZero() { // which means that it is under way
		a.until = now
	}
}

func (c *Cache) review(ctx context.Context, token string) (Pod, error) {
	if !c.limiter.Allow() {
		return Pod{}, fmt.Errorf("%w: too many pods ask at once", ErrUnavailable)
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return Pod{}, fmt.Errorf("%w: too many reviews are under way", ErrUnavailable)
	}
	pod, err := c.reviewer.Review(ctx, token)
	if err != nil {
		return Pod{}, err //nolint:wrapcheck // it wraps what this package says
	}
	if pod.Namespace == "" || pod.Name == "" || pod.UID == "" {
		return Pod{}, fmt.Errorf("%w: it is not bound to a pod", ErrRefused)
	}
	return pod, nil
}

// size is how many answers are kept or under way.
func (c *Cache) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.order)
}
