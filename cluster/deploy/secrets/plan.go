package secrets

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/keysteward/keysteward/client/pki"
)

// ErrPlan is wrapped by errors about a plan that can not be carried out.
var ErrPlan = errors.New("unusable plan")

// Plan says which Secrets are to be there. Names that are empty are not made.
type Plan struct {
	// Prefix begins the names of the Secrets that only this package uses:
	// PREFIX-init, PREFIX-api-ca, PREFIX-raft-ca, and PREFIX-admin.
	Prefix string
	// KEK has 64 hex digits under the key `kek`.
	KEK string
	// APITLS and RaftTLS are of the type kubernetes.io/tls and have ca.crt besides.
	APITLS, RaftTLS string
	// Hosts are those of all nodes. The certificate for members is for them alone,
	// the API's for APINames too.
	Hosts, APINames []string
	// Lifetime is that of the nodes' certificates.
	Lifetime time.Duration
	// Admin is the name of the first admin, whose certificate is PREFIX-admin.
	Admin         string
	AdminLifetime time.Duration
	// Given are those of KEK, APITLS and RaftTLS that somebody else makes: they have
	// to be there.
	Given []string
}

// Check finds what is wrong with a plan. Errors wrap [ErrPlan].
func (p Plan) Check() error {
	nodes := p.APITLS != "" || p.RaftTLS != ""
	switch {
	case p.Prefix == "" || p.KEK == "" && !nodes && p.Admin == "":
		return fmt.Errorf("%w: nothing is to be made", ErrPlan)
	case nodes && len(p.Hosts) == 0:
		return fmt.Errorf("%w: certificates of nodes need the nodes' hosts", ErrPlan)
	case nodes && p.Lifetime <= 0, p.Admin != "" && p.AdminLifetime <= 0:
		return fmt.Errorf("%w: a certificate needs a lifetime above 0", ErrPlan)
	}
	return p.checkNames()
}

func (p Plan) checkNames() error {
	for _, name := range []string{p.record(), p.KEK, p.APITLS, p.RaftTLS} {
		if problems := validation.IsDNS1123Subdomain(name); name != "" && len(problems) > 0 {
			return fmt.Errorf("%w: no name of a Secret: %q: %s", ErrPlan, name, problems[0])
		}
	}
	for _, name := range p.Given {
		if name == "" || !slices.Contains([]string{p.KEK, p.APITLS, p.RaftTLS}, name) {
			return fmt.Errorf("%w: the Secret %q is given, and not asked for", ErrPlan, name)
		}
	}
	if p.Admin == "" {
		return nil
	}
	if _, err := p.admin(); err != nil {
		return fmt.Errorf("%w: %w", ErrPlan, err)
	}
	return nil
}

func (p Plan) record() string { return p.Prefix + "-init" }

func (p Plan) admin() (pki.Caller, error) {
	return pki.ParseCaller(p.Admin + "=admin") //nolint:wrapcheck // says what it is
}

// certificate is one Secret with a certificate.
type certificate struct {
	secret    string
	authority string // its Secret
	called    string // the authority
	request   pki.Request
}

func (p Plan) certificates() ([]certificate, error) {
	api, raft := p.Prefix+"-api-ca", p.Prefix+"-raft-ca"
	var list []certificate
	if p.APITLS != "" {
		hosts := append(append([]string(nil), p.Hosts...), p.APINames...)
		list = append(list, certificate{p.APITLS, api, pki.APIAuthority, pki.Request{Name: p.Prefix, Hosts: hosts, Server: true, Lifetime: p.Lifetime}})
	}
	if p.RaftTLS != "" {
		list = append(list, certificate{p.RaftTLS, raft, pki.RaftAuthority, pki.Request{Name: p.Prefix, Hosts: p.Hosts, Server: true, Client: true, Lifetime: p.Lifetime}})
	}
	if p.Admin != "" {
		caller, err := p.admin()
		if err != nil {
			return nil, err
		}
		list = append(list, certificate{p.Prefix + "-admin", api, pki.APIAuthority, caller.Request(p.AdminLifetime)})
	}
	return list, nil
}
