package api

import (
	"regexp"

	"github.com/keysteward/keysteward/api/wire"
)

// Kubernetes' rules for names.
var (
	dnsLabel     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	dnsSubdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	podUID       = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
)

const (
	maxSubdomain = 253
	podUIDWanted = "want 1 to 128 of A-Z a-z 0-9 . _ -"
)

func checkNames(namespace, pod string) error {
	if !dnsLabel.MatchString(namespace) {
		return badField("namespace", "want an RFC 1123 label: 1 to 63 of a-z 0-9 -, beginning and ending with a letter or digit")
	}
	if len(pod) > maxSubdomain || !dnsSubdomain.MatchString(pod) {
		return badField("pod", "want an RFC 1123 subdomain: 1 to %d of a-z 0-9 - ., each part beginning and ending with a letter or digit", maxSubdomain)
	}
	return nil
}

// checkRequest names the first field of the request that is out of its bounds.
func (s *Server) checkRequest(by Caller, r allocationBody) error {
	if !podUID.MatchString(r.PodUID) {
		return badField("podUid", podUIDWanted)
	}
	most := s.cfg.MaxKeysPerPod
	if by.Pod != nil {
		most = min(most, by.mostKeys)
	}
	if r.Keys < 1 || r.Keys > int64(most) {
		return badField("keys", "%d is not a number from 1 to %d", r.Keys, most)
	}
	if r.SlashingProtection && s.cfg.Chain == nil {
		return newProblem(noWatermarks, "slashingProtection: the servers need --network, or with a custom one --genesis-time and --genesis-validators-root")
	}
	if r.Recipient == nil {
		return nil
	}
	return checkRecipient(*r.Recipient)
}

func checkRecipient(r wire.Recipient) error {
	if err := r.Check(); err != nil {
		return badField("recipient", "%v", err)
	}
	return nil
}
