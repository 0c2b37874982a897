package api

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Bounds of requests and logins. They protect a node from callers that run wild;
// they are far from what an honest one needs.
const (
	// DefaultRateLimit is how many requests per second one caller may make.
	DefaultRateLimit = 500
	// rateBurst is for how many seconds' worth a caller may save up, so that many
	// pods that share a token may start at once.
	rateBurst = 4

	// Wrong tokens per second, from one address and in all.
	failuresPerAddress, failuresBurst = 5, 50
	failuresInAll, failuresInAllBurst = 100, 500

	// How often the same keys are given to the same pod: each time is a command and a
	// record. Whoever gets them for the first time, or anew, has a burst of its own.
	repeatsPerSecond, repeatsBurst = 0.2, 60

	// maxBuckets bounds the callers, and the addresses, that are remembered.
	maxBuckets = 20_000
	// goodFor is how long a pod's token that was right is let through a flood of wrong ones.
	goodFor = 10 * time.Minute
)

// paced refuses a caller that makes too many requests.
func (s *Server) paced(c Caller) error {
	if s.pace == nil {
		return nil
	}
	wait := s.pace.take(c.key(), time.Now())
	if wait == 0 {
		return nil
	}
	p := newProblem(tooManyRequests, "%s makes more than %d requests per second", c.Name, s.cfg.RateLimit)
	p.retry = wait
	return s.refuse(c.Remote, "too-many-requests", p)
}

// pacedRepeat refuses who asks too often for what the pod holds already.
func (s *Server) pacedRepeat(c *call, view *fsm.View, body allocationBody) error {
	a := view.Allocation(body.Namespace, body.Pod)
	if a.GetState() != fsmpb.AllocationState_ALLOCATION_STATE_HELD || a.GetPod().GetUid() != body.PodUID || int64(len(a.GetKeys())) < body.Keys {
		return nil
	}
	wait := s.repeats.take(fmt.Sprintf("%s/%s %d", body.Namespace, body.Pod, a.GetFence()), time.Now())
	if wait == 0 {
		return nil
	}
	p := newProblem(tooManyRequests, "pod %s/%s was given the same keys, of fence %d, too often within a short time", body.Namespace, body.Pod, a.GetFence())
	p.retry = wait
	return s.refuse(c.caller.Remote, "too-many-repeats", p)
}

// buckets are token buckets by name, as many as fit.
type buckets struct {
	rate  rate.Limit
	burst int

	mu   sync.Mutex
	each map[string]*rate.Limiter
}

func newBuckets(perSecond float64, burst int) *buckets {
	return &buckets{rate: rate.Limit(perSecond), burst: burst, each: make(map[string]*rate.Limiter)}
}

// take takes one, or returns after which time there is one again.
func (b *buckets) take(name string, now time.Time) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.each[name]
	if l == nil {
		b.makeRoom(now)
		l = rate.NewLimiter(b.rate, b.burst)
		b.each[name] = l
	}
	if l.AllowN(now, 1) {
		return 0
	}
	return refill(l, now)
}

// empty returns after which time there is one again, 0 if there is one.
func (b *buckets) empty(name string, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.each[name]; l != nil {
		return refill(l, now)
	}
	return 0
}

// used reports whether any was taken that did not come back yet.
func (b *buckets) used(name string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.each[name]
	return l != nil && l.TokensAt(now) < float64(b.burst)
}

// makeRoom forgets one that is full again, which makes no difference, or any. It
// looks at a few only: it is called when many come.
func (b *buckets) makeRoom(now time.Time) {
	if len(b.each) < maxBuckets {
		return
	}
	const looks = 16
	n, last := 0, ""
	for name, l := range b.each { // in no order
		if n, last = n+1, name; n == looks || l.TokensAt(now) >= float64(b.burst) {
			break
		}
	}
	delete(b.each, last)
}

func (b *buckets) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.each)
}

// refill is how long the limiter needs until it has one again, 0 if it has.
func refill(l *rate.Limiter, now time.Time) time.Duration {
	lacks := 1 - l.TokensAt(now)
	if lacks <= 0 {
		return 0
	}
	return max(time.Millisecond, time.Duration(lacks/float64(l.Limit())*float64(time.Second)))
}

// logins bounds what wrong tokens cost. It keeps nobody with a token of the file or
// the state out: those are looked up in any case.
type logins struct {
	// wrong are tokens that were found to be nobody's without asking anybody; reviews
	// are those that Kubernetes was asked about and refused. Neither counts for the
	// other: what costs nothing must not keep pods out.
	wrong, reviews failures

	// good are tokens of pods that were right, so that who has one is not shut out by
	// others behind the same address. What is remembered opens nothing.
	seed maphash.Seed
	mu   sync.Mutex
	good map[uint64]time.Time
}

// failures are counted by address and in all.
type failures struct {
	addresses *buckets
	all       *rate.Limiter
}

func newFailures() failures {
	return failures{
		addresses: newBuckets(failuresPerAddress, failuresBurst),
		all:       rate.NewLimiter(failuresInAll, failuresInAllBurst),
	}
}

// count counts one, and returns after which time there may be one more if this was
// one too many.
func (f failures) count(remote string) (wait time.Duration) {
	now := time.Now()
	wait = f.addresses.take(network(remote), now)
	if !f.all.AllowN(now, 1) {
		wait = max(wait, refill(f.all, now))
	}
	return wait
}

func newLogins() *logins {
	return &logins{wrong: newFailures(), reviews: newFailures(), seed: maphash.MakeSeed(), good: make(map[uint64]time.Time)}
}

// closed returns for how long no token from the address is reviewed, 0 if this one
// is. An address from which no wrong one came is not concerned by those of others.
func (l *logins) closed(remote, token string) time.Duration {
	now := time.Now()
	wait := l.reviews.addresses.empty(network(remote), now)
	if l.reviews.addresses.used(network(remote), now) {
		wait = max(wait, refill(l.reviews.all, now))
	}
	if wait == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.good[maphash.String(l.seed, token)]) {
		return 0
	}
	return wait
}

// succeeded remembers a right token of a pod for a while.
func (l *logins) succeeded(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := maphash.String(l.seed, token)
	if _, known := l.good[name]; !known && len(l.good) >= maxBuckets {
		for other := range l.good { // any
			delete(l.good, other)
			break
		}
	}
	l.good[name] = time.Now().Add(goodFor)
}

// network is an address with all that its owner can change at will cut off: an
// IPv6 host has 2^64 addresses.
func network(remote string) string {
	address, err := netip.ParseAddr(remote)
	if err != nil || address.Unmap().Is4() {
		return remote
	}
	prefix, err := address.WithZone("").Prefix(64)
	if err != nil {
		return remote
	}
	return prefix.String()
}
