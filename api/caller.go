package api

import (
	"slices"
	"strings"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

// Role is what a caller may do.
type Role string

// Roles, from all to least: an admin may do everything, an operator hands out
// and takes back keys, a viewer reads what is public anyway. A pod asks for its
// own keys and gives them back.
const (
	RoleAdmin    Role = "admin"
	RoleOperator Role = "operator"
	RoleViewer   Role = "viewer"
	RolePod      Role = "pod"
)

// givenRoles are those that tokens and certificates can have. A pod is one by
// the word of Kubernetes only.
var givenRoles = []Role{RoleAdmin, RoleOperator, RoleViewer}

// How callers prove who they are, as audit records tell it.
const (
	byToken       = "token"
	byTokenFile   = "token-file"
	byCertificate = "certificate"
	byPodToken    = "pod"
)

// Caller is who sends a request.
type Caller struct {
	// Name of the token or certificate, or namespace and name of the pod;
	// "anonymous" where none is needed.
	Name string
	Role Role
	// Remote is the host that the request came from.
	Remote string
	// Namespaces and Projects are what the caller is limited to; the whole cluster
	// if both are empty.
	Namespaces, Projects []string
	// Method is how the caller proved who it is, Credential what with: the ID of a
	// token, the serial number of a certificate, the UID and service account of a pod.
	Method, Credential string
	// Pod is set for the role pod.
	Pod *podtoken.Pod
	// mostKeys is how many keys the caller may ask for where that is a pod.
	mostKeys int
}

func (c Caller) proto() *fsmpb.Caller {
	return &fsmpb.Caller{Name: c.Name, Role: string(c.Role), Remote: c.Remote, Method: c.Method, Credential: c.Credential}
}

// limited reports whether only a part of the cluster is the caller's.
func (c Caller) limited() bool { return c.Pod != nil || len(c.Namespaces) > 0 || len(c.Projects) > 0 }

// key names the caller among those whose requests are counted.
func (c Caller) key() string {
	if c.Method == "" {
		return "address " + network(c.Remote)
	}
	return c.Method + " " + c.Credential + " " + c.Name
}

// sees reports whether a pod's affairs are the caller's to see.
func (c Caller) sees(namespace, pod string) bool {
	switch {
	case !c.limited():
		return true
	case c.Pod != nil:
		return namespace == c.Pod.Namespace && pod == c.Pod.Name
	}
	return slices.Contains(c.Namespaces, namespace)
}

// seesClouds reports whether anything under /v2 is the caller's to see.
func (c Caller) seesClouds() bool { return !c.limited() || c.Pod == nil && len(c.Projects) > 0 }

// seesProject reports whether a project is the caller's, with all that is below it.
func (c Caller) seesProject(project string) bool {
	return !c.limited() || c.Pod == nil && slices.Contains(c.Projects, project)
}

// seesKey reports whether a key is the caller's to see: its pods hold it, rest on
// it or wait for it, or it is retired, which whoever had it has to learn. What is
// in the pool is nobody's, and what others hold is theirs.
func (c Caller) seesKey(k *fsmpb.Key) bool {
	if !c.limited() || k.GetState() == fsmpb.KeyState_KEY_STATE_RETIRED {
		return true
	}
	if h := k.GetHolder(); h != nil && c.sees(h.GetNamespace(), h.GetName()) {
		return true
	}
	namespace, pod, reserved := strings.Cut(k.GetReservedBy(), "/")
	return reserved && c.sees(namespace, pod)
}

// limits says in words what the caller is limited to.
func (c Caller) limits() string {
	var parts []string
	if c.Pod != nil {
		parts = append(parts, "to its own keys")
	}
	if len(c.Namespaces) > 0 {
		parts = append(parts, "to the namespaces "+strings.Join(c.Namespaces, ", "))
	}
	if len(c.Projects) > 0 {
		parts = append(parts, "to the projects "+strings.Join(c.Projects, ", "))
	}
	return strings.Join(parts, " and ")
}

// checkLimits refuses names that can be none of a namespace or project.
func checkLimits(namespaces, projects []string) error {
	for _, l := range []struct {
		field string
		names []string
		fits  func(string) bool
	}{
		{"namespaces", namespaces, dnsLabel.MatchString},
		{"projects", projects, saneObjectName.MatchString},
	} {
		if len(l.names) > fsm.MaxTokenLimits {
			return badField(l.field, "%d of them, at most %d", len(l.names), fsm.MaxTokenLimits)
		}
		for i, name := range l.names {
			if !l.fits(name) || slices.Contains(l.names[:i], name) {
				return badField(l.field, "%s is no such name, or is there twice", told(name))
			}
		}
	}
	return nil
}
