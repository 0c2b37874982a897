package clouds

import (
	"fmt"
	"sync"

	certificates "k8s.io/api/certificates/v1"
	"k8s.io/client-go/tools/cache"
)

// sightings are the certificate signing requests of ours that a watch has seen. It is
// the store of a reflector, and wakes whoever waits for a request.
type sightings struct {
	mu      sync.Mutex
	objects map[string]*certificates.CertificateSigningRequest
	waiters map[string]chan struct{}
}

var _ cache.ReflectorStore = (*sightings)(nil)

func newSightings() *sightings {
	return &sightings{objects: make(map[string]*certificates.CertificateSigningRequest), waiters: make(map[string]chan struct{})}
}

// subscribe returns a channel that speaks when the request of that name may have
// changed. One at a time may wait for a name; stop ends it.
func (s *sightings) subscribe(name string) (changed <-chan struct{}, stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan struct{}, 1)
	s.waiters[name] = ch
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waiters[name] == ch {
			delete(s.waiters, name)
		}
	}
}

// get returns the request as it was seen last, nil if it was not.
func (s *sightings) get(name string) *certificates.CertificateSigningRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[name]
}

func (s *sightings) wake(name string) {
	select {
	case s.waiters[name] <- struct{}{}:
	default: // nobody waits, or who does will look soon; a nil channel is never ready
	}
}

func requestOf(obj any) (*certificates.CertificateSigningRequest, error) {
	request, ok := obj.(*certificates.CertificateSigningRequest)
	if !ok {
		return nil, fmt.Errorf("a %T among certificate signing requests", obj)
	}
	return request, nil
}

// Add implements cache.ReflectorStore.
func (s *sightings) Add(obj any) error {
	request, err := requestOf(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[request.Name] = request
	s.wake(request.Name)
	return nil
}

// Update implements cache.ReflectorStore.
func (s *sightings) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s *sightings) Delete(obj any) error {
	request, err := requestOf(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, request.Name)
	s.wake(request.Name)
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *sightings) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.objects)
	for _, obj := range list {
		request, err := requestOf(obj)
		if err != nil {
			return err
		}
		s.objects[request.Name] = request
	}
	return s.wakeAll()
}

// Resync implements cache.ReflectorStore.
func (s *sightings) Resync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wakeAll()
}

func (s *sightings) wakeAll() error {
	for name := range s.waiters {
		s.wake(name)
	}
	return nil
}
