package history

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Signing watches over who may sign with which key: from when a pod was granted it until
// the pod stopped for good, which is before anybody says so. It is safe for concurrent use.
type Signing struct {
	mu      sync.Mutex
	signers map[string][]signer // by key
	found   []string
}

type signer struct {
	pod, uid string
	since    time.Duration
}

// NewSigning watches nobody yet.
func NewSigning() *Signing { return &Signing{signers: map[string][]signer{}} }

// Begin notes that a pod signs with these keys from now on, if it did not already.
func (s *Signing) Begin(pod, uid string, keys []string, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		mine := false
		for _, other := range s.signers[key] {
			if other.uid == uid {
				mine = true
				continue
			}
			s.found = append(s.found, fmt.Sprintf("two sign with %s: UID %s of %s since %s, and UID %s of %s since %s",
				brief(key), brief(other.uid), other.pod, other.since.Round(time.Millisecond), brief(uid), pod, now.Round(time.Millisecond)))
		}
		if !mine {
			s.signers[key] = append(s.signers[key], signer{pod, uid, now})
		}
	}
}

// End notes that the pod with this UID has stopped for good.
func (s *Signing) End(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, signers := range s.signers {
		s.signers[key] = slices.DeleteFunc(signers, func(g signer) bool { return g.uid == uid })
	}
}

// Found is everything that went wrong so far, in words.
func (s *Signing) Found() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.found)
}
