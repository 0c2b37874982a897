package client

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/keysteward/keysteward/api/wire"
)

// ErrRequest is wrapped by errors about a request that no server would accept.
var ErrRequest = errors.New("invalid request")

const (
	maxLabel     = 63
	maxSubdomain = 253
	maxUID       = 128
	maxObject    = 128
)

var (
	label     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	uid       = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	object    = regexp.MustCompile(`^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$`)
)

// CheckPod refuses names that Kubernetes would refuse: a namespace is an RFC 1123
// label of at most 63 bytes, a pod's name a subdomain of at most 253. Errors wrap
// ErrRequest.
func CheckPod(namespace, pod string) error {
	if len(namespace) > maxLabel || !label.MatchString(namespace) {
		return fmt.Errorf("%w: namespace %.80q: want 1 to %d lower-case letters, digits and dashes, neither first nor last a dash", ErrRequest, namespace, maxLabel)
	}
	if len(pod) > maxSubdomain || !subdomain.MatchString(pod) {
		return fmt.Errorf("%w: pod name %.80q: want 1 to %d lower-case letters, digits, dashes and dots, as in a DNS name", ErrRequest, pod, maxSubdomain)
	}
	return nil
}

// CheckPodUID refuses a UID that the cluster would refuse: 1 to 128 of A-Z a-z 0-9
// dot, underscore and dash. Errors wrap ErrRequest.
func CheckPodUID(podUID string) error {
	if len(podUID) > maxUID || !uid.MatchString(podUID) {
		return fmt.Errorf("%w: pod UID %.80q: want 1 to %d letters, digits, dots, underscores and dashes", ErrRequest, podUID, maxUID)
	}
	return nil
}

// checkRequest refuses a request before anybody is asked.
func checkRequest(r wire.AllocationRequest) error {
	if err := CheckPod(r.Namespace, r.Pod); err != nil {
		return err
	}
	if err := CheckPodUID(r.PodUID); err != nil {
		return err
	}
	if r.Keys < 1 {
		return fmt.Errorf("%w: %d keys: want at least 1", ErrRequest, r.Keys)
	}
	return nil
}

// CheckObject refuses a name that nothing under /v2 has: 1 to 128 letters, digits,
// dashes, underscores and dots, the first and the last a letter or digit. What says of
// what the name is. Errors wrap ErrRequest.
func CheckObject(what, name string) error {
	if len(name) > maxObject || !object.MatchString(name) {
		return fmt.Errorf("%w: name of a %s %.80q: want 1 to %d letters, digits, dashes, underscores and dots, the first and the last a letter or digit", ErrRequest, what, name, maxObject)
	}
	return nil
}
