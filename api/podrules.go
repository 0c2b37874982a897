package api

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

// ErrPodRules is wrapped by every error about which pods may ask for keys.
var ErrPodRules = errors.New("invalid entry of pods")

// anyName stands for all namespaces or all accounts of an entry.
const anyName = "*"

// PodRules say which pods may ask for keys, and for how many: Kubernetes vouches
// for each pod of each namespace, and each key costs a stake.
type PodRules []podRule

type podRule struct {
	namespace, account string // or anyName
	keys               int
}

// ParsePodRules reads entries of the form NAMESPACE/SERVICEACCOUNT[=KEYS]. An
// asterisk in the place of either name stands for all. KEYS is how many keys one pod
// of the account may have at most; without it that is most, and it may not be more.
// The first entry that fits a pod decides. Errors wrap [ErrPodRules].
func ParsePodRules(entries []string, most int) (PodRules, error) {
	var rules PodRules
	for _, entry := range entries {
		names, number, limited := strings.Cut(entry, "=")
		namespace, account, both := strings.Cut(names, "/")
		r := podRule{namespace: namespace, account: account, keys: most}
		switch {
		case !both, namespace != anyName && !dnsLabel.MatchString(namespace),
			account != anyName && (len(account) > maxSubdomain || !dnsSubdomain.MatchString(account)):
			return nil, fmt.Errorf("%w: %q: want NAMESPACE/SERVICEACCOUNT[=KEYS], an asterisk for a whole name at most", ErrPodRules, entry)
		case slices.ContainsFunc(rules, func(o podRule) bool { return o.namespace == namespace && o.account == account }):
			return nil, fmt.Errorf("%w: %q: %s is there twice", ErrPodRules, entry, names)
		}
		if limited {
			n, err := strconv.Atoi(number)
			if err != nil || n < 1 || n > most {
				return nil, fmt.Errorf("%w: %q: want 1 to %d keys", ErrPodRules, entry, most)
			}
			r.keys = n
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// limitOf is how many keys the pod may have; allowed says whether it may have any.
func (r PodRules) limitOf(p podtoken.Pod) (keys int, allowed bool) {
	for _, rule := range r {
		if (rule.namespace == anyName || rule.namespace == p.Namespace) && (rule.account == anyName || rule.account == p.ServiceAccount) {
			return rule.keys, true
		}
	}
	return 0, false
}

// podCaller is a pod that Kubernetes vouches for, if it may have keys.
func (r PodRules) podCaller(p podtoken.Pod) (Caller, *problem) {
	keys, allowed := r.limitOf(p)
	if !allowed {
		return Caller{}, newProblem(forbidden, "pod %s/%s may not ask for keys: that needs an entry %s/%s in the servers' --pods",
			p.Namespace, p.Name, p.Namespace, p.ServiceAccount)
	}
	return Caller{
		Name: p.Namespace + "/" + p.Name, Role: RolePod, Method: byPodToken, Pod: &p, mostKeys: keys,
		Credential: p.UID + " of system:serviceaccount:" + p.Namespace + ":" + p.ServiceAccount,
	}, nil
}

// callerOfPod is a pod that Kubernetes vouches for. One that may not ask for keys, because
// of its namespace or its account, is refused, and whoever looks after it is told.
func (s *Server) callerOfPod(pod podtoken.Pod, remote string) (Caller, error) {
	var caller Caller
	var p *problem
	reason := "pod-not-listed"
	if allowed := s.cfg.AllowedNamespaces; len(allowed) > 0 && !slices.Contains(allowed, pod.Namespace) {
		reason = "namespace-not-allowed"
		p = newProblem(forbidden, "pod %s/%s may not ask for keys: the namespace %s is not among the servers' --allowed-namespaces", pod.Namespace, pod.Name, pod.Namespace)
	} else {
		caller, p = s.cfg.Pods.podCaller(pod)
	}
	if p == nil {
		return caller, nil
	}
	if s.cfg.PodRefused != nil {
		s.cfg.PodRefused(pod, p.detail)
	}
	return Caller{}, s.refuse(remote, reason, p)
}
