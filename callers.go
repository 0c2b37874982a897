package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/keysteward/keysteward/api"
	"github.com/keysteward/keysteward/node/kubernetes"
	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

// callerOptions are the flags about who may call the API, and how often.
type callerOptions struct {
	tokenHashes, certRoles string
	kubernetes, audience   string
	pods                   []string
	allowedNamespaces      []string
	rateLimit              int
}

func (o *callerOptions) bind(f *pflag.FlagSet) {
	f.StringVar(&o.tokenHashes, "token-hashes", "", "file with the names, roles and SHA-256 hashes of bearer tokens, the way in to a new cluster; once there is another, leave it out and remove the file")
	f.StringVar(&o.certRoles, "cert-roles", "", "file that gives client certificates names and roles (default: the role is the organization keysteward:ROLE, the name the common name)")
	f.StringVar(&o.kubernetes, "kubernetes", "", "API of Kubernetes that vouches for pods' tokens: in-cluster, or the file of a kubeconfig; without it no pod is let in by its token")
	f.StringSliceVar(&o.pods, "pods", nil, "pods that may ask for keys, with --kubernetes: NAMESPACE/SERVICEACCOUNT[=KEYS], with * for all of either name, and the most keys of one such pod (default: --max-keys-per-pod); the first that fits decides")
	f.StringSliceVar(&o.allowedNamespaces, "allowed-namespaces", nil, "namespaces whose pods may ask for keys at all, whatever --pods says, and with --witness kubernetes the only ones whose pods are followed (default: all)")
	f.StringVar(&o.audience, "pod-token-audience", "keysteward", "audience that pods' projected tokens are made for")
	f.IntVar(&o.rateLimit, "rate-limit", api.DefaultRateLimit, "requests per second of one caller, in bursts of four seconds' worth (0: no limit)")
}

func (o *callerOptions) check(mostKeys int) error {
	switch {
	case o.rateLimit < 0:
		return fmt.Errorf("--rate-limit %d is negative", o.rateLimit)
	case o.kubernetes != "" && len(o.pods) == 0:
		return errors.New("--kubernetes needs --pods: which pods may ask for keys")
	case o.kubernetes == "" && len(o.pods) > 0:
		return errors.New("--pods needs --kubernetes, which vouches for pods")
	case o.kubernetes == "" && len(o.allowedNamespaces) > 0:
		return errors.New("--allowed-namespaces needs --kubernetes, which vouches for pods")
	case o.audience == "":
		return errors.New("--pod-token-audience is empty")
	}
	for _, namespace := range o.allowedNamespaces {
		if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
			return fmt.Errorf("--allowed-namespaces %q: %s", namespace, problems[0])
		}
	}
	if _, err := api.ParsePodRules(o.pods, mostKeys); err != nil {
		return fmt.Errorf("--pods: %w", err)
	}
	return nil
}

// addTo opens what the flags name.
func (o *callerOptions) addTo(c *api.Config, mostKeys int, log *slog.Logger) (err error) {
	c.RateLimit = o.rateLimit
	if o.tokenHashes != "" {
		if c.Tokens, err = api.OpenTokens(o.tokenHashes, log); err != nil {
			return fmt.Errorf("--token-hashes: %w", err)
		}
	}
	if o.certRoles != "" {
		if c.Certificates, err = api.OpenCertificateRoles(o.certRoles, log); err != nil {
			return fmt.Errorf("--cert-roles: %w", err)
		}
	}
	if o.kubernetes == "" {
		return nil
	}
	c.AllowedNamespaces = o.allowedNamespaces
	if c.Pods, err = api.ParsePodRules(o.pods, mostKeys); err != nil {
		return fmt.Errorf("--pods: %w", err)
	}
	config, err := kubernetes.Config(o.kubernetes)
	if err != nil {
		return fmt.Errorf("--kubernetes: %w", err)
	}
	reviewer, err := kubernetes.NewReviewer(config, o.audience, log)
	if err != nil {
		return fmt.Errorf("--kubernetes: %w", err)
	}
	c.PodTokens = podtoken.NewCache(reviewer, o.audience)
	return nil
}
