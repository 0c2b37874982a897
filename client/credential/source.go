package credential

import (
	"context"
	"time"
)

const (
	// patience is how long the cluster may take if there is something to serve instead.
	patience = 5 * time.Second
	// retryPause is how long it is left alone after it did not answer.
	retryPause = 30 * time.Second
	// renewalPause is between two questions for a certificate that is to be renewed.
	renewalPause = time.Minute
	// shortest is how long client-go uses a credential, so that not every request asks.
	shortest = 10 * time.Second
)

// Meaning is what an error of Fetch says about a cached credential.
type Meaning int

const (
	// Failed says nothing: a mistake on this side.
	Failed Meaning = iota
	// Away means that the cluster did not answer, and that what is cached may be used.
	Away
	// Pending means that there is none at present, and that it is worth waiting for.
	Pending
	// Gone means that the cluster refused, and that what is cached is good for nothing.
	Gone
)

// Source gets credentials from a cache, else from the cluster.
type Source struct {
	// Cache may be nil.
	Cache *Cache
	// For is how long a credential is served from the cache.
	For time.Duration
	// Fetch asks the cluster, and waits for a certificate if wait says so.
	Fetch func(ctx context.Context, wait bool) (Credential, error)
	// Current tells whether a credential is still the newest one. It costs less than to
	// fetch it again, which is on record as a disclosure.
	Current func(ctx context.Context, c Credential) (bool, error)
	// Means says what an error of Fetch or Current means.
	Means func(error) Meaning
	// Warn is told what goes wrong and is of no consequence.
	Warn func(error)
	// Now is time.Now if nil.
	Now func() time.Time
}

// Get returns a credential, and when it is to be asked for again, which is before the
// certificate ends. It waits until ctx ends at most.
func (s *Source) Get(ctx context.Context) (Credential, time.Time, error) {
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Cache == nil {
		c, err := s.Fetch(ctx, true)
		return s.answer(record{credential: c, Fetched: s.Now()}, err)
	}
	if r, ok := s.Cache.load(); ok && s.fresh(r) {
		return s.answer(r, nil)
	}
	unlock, err := s.Cache.lock(ctx)
	if err != nil {
		s.Warn(err)
	} else {
		defer unlock()
	}
	r, cached := s.Cache.load() // again: whoever held the lock has fetched one
	if cached && s.fresh(r) {
		return s.answer(r, nil)
	}
	if !cached || !r.credential.valid(s.Now()) {
		return s.fetch(ctx)
	}
	return s.refresh(ctx, r)
}

// fresh tells whether a record can be served without asking.
func (s *Source) fresh(r record) bool {
	now := s.Now()
	return r.credential.valid(now) && !now.Before(r.Fetched) && now.Before(s.until(r))
}

// until is when the cluster is to be asked again.
func (s *Source) until(r record) time.Time {
	until := r.Fetched.Add(s.For)
	if renewal := later(r.credential.renewAt(), r.Fetched.Add(renewalPause)); renewal.Before(until) {
		until = renewal
	}
	return later(until, r.Failed.Add(retryPause))
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// answer says until when a record is good for client-go.
func (s *Source) answer(r record, err error) (Credential, time.Time, error) {
	if err != nil {
		return Credential{}, time.Time{}, err
	}
	until := later(s.until(r), s.Now().Add(shortest))
	if end := r.credential.NotAfter.Add(-margin); end.Before(until) {
		until = end
	}
	return r.credential, until, nil
}

// fetch waits for a credential.
func (s *Source) fetch(ctx context.Context) (Credential, time.Time, error) {
	c, err := s.Fetch(ctx, true)
	if err != nil {
		if m := s.Means(err); m == Gone || m == Pending {
			s.Cache.remove()
		}
		return s.answer(record{}, err)
	}
	return s.keep(record{credential: c, Fetched: s.Now()})
}

func (s *Source) keep(r record) (Credential, time.Time, error) {
	if err := s.Cache.save(r); err != nil {
		s.Warn(err)
	}
	return s.answer(r, nil)
}

// refresh asks whether there is a newer credential while there is one that is still good.
func (s *Source) refresh(ctx context.Context, r record) (Credential, time.Time, error) {
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	next := record{credential: r.credential, Fetched: s.Now()}
	current, err := s.Current(short, r.credential)
	if err == nil && !current {
		next.credential, err = s.Fetch(short, false)
		next.Fetched = s.Now()
	}
	if err == nil {
		return s.keep(next)
	}
	switch s.Means(err) {
	case Away:
		s.Warn(err)
		r.Failed = s.Now()
		return s.keep(r)
	case Pending: // of the present generation there is none, so this one is of an earlier
		s.Cache.remove()
		return s.fetch(ctx)
	case Gone:
		s.Cache.remove()
	case Failed:
	}
	return s.answer(record{}, err)
}
