package api

import (
	"iter"
	"strings"
	"unicode"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Bounds of a permission's lists.
const (
	maxRuleEntries = 64
	maxRuleEntry   = 253
)

var permissions = objects[*fsmpb.UserPermission, wire.UserPermission]{
	what: "user permission", above: ofCloud, own: "permission", guarded: true,
	all: func(v *fsm.View, above []string) iter.Seq[*fsmpb.UserPermission] {
		return v.UserPermissions(above[0], above[1])
	},
	one: func(v *fsm.View, above []string, name string) *fsmpb.UserPermission {
		return v.UserPermission(above[0], above[1], name)
	},
	of: (*fsmpb.Object).GetPermission,
	row: func(above []string, m *fsmpb.Metadata) *fsmpb.Object {
		return &fsmpb.Object{Kind: &fsmpb.Object_Permission{Permission: &fsmpb.UserPermission{Project: above[0], Cloud: above[1], Metadata: m}}}
	},
	spec: readPermission,
	show: func(_ Caller, p *fsmpb.UserPermission) wire.UserPermission { return permissionOf(p) },
	echo: permissionOf,
}

func permissionOf(p *fsmpb.UserPermission) wire.UserPermission {
	return wire.UserPermission{Metadata: metadataOf(p.GetMetadata()), Spec: wire.UserPermissionSpec{
		Namespace: p.GetNamespace(), APIGroups: p.GetApiGroups(), Resources: p.GetResources(), Verbs: p.GetVerbs(),
	}}
}

// readPermission reads a rule of a Role, or of a ClusterRole where it names no
// namespace.
func readPermission(s *Server, c *call, body *jsonObject, p *fsmpb.UserPermission) error {
	spec := body.object("spec")
	p.Namespace = spec.text("namespace")
	if p.GetNamespace() != "" && !dnsLabel.MatchString(p.GetNamespace()) {
		spec.fail("namespace", "want an RFC 1123 label, or nothing for a permission that is cluster-wide")
	}
	p.ApiGroups, p.Resources, p.Verbs = spec.texts("apiGroups"), spec.texts("resources"), spec.texts("verbs")
	if len(p.GetApiGroups()) == 0 {
		p.ApiGroups = []string{""} // the core group
	}
	spec.checkEntries("apiGroups", p.GetApiGroups(), true)
	spec.checkEntries("resources", p.GetResources(), false)
	spec.checkEntries("verbs", p.GetVerbs(), false)
	if err := spec.finish(true); err != nil {
		return err
	}
	return s.mayPermit(c, p)
}

// checkEntries refuses a list that Kubernetes would not take as one of a rule.
func (o *jsonObject) checkEntries(field string, entries []string, empty bool) {
	if n := len(entries); n == 0 || n > maxRuleEntries {
		o.fail(field, "want 1 to %d of them", maxRuleEntries)
	}
	for _, e := range entries {
		odd := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
		if e == "" && !empty || len(e) > maxRuleEntry || strings.ContainsFunc(e, odd) {
			o.fail(field, "%s does not fit: want 1 to %d characters without spaces", told(e), maxRuleEntry)
		}
	}
}

// mayPermit lets callers that are limited permit things in the namespace of the cloud
// only: the others, and what is in none, are not theirs.
func (s *Server) mayPermit(c *call, p *fsmpb.UserPermission) error {
	if !c.caller.limited() {
		return nil
	}
	cloud := s.node.View().Cloud(p.GetProject(), p.GetCloud())
	switch {
	case cloud == nil:
		return newProblem(notFound, "there is no logical cloud %s/%s", p.GetProject(), p.GetCloud())
	case p.GetNamespace() == cloud.GetNamespace():
		return nil
	}
	where := "namespace " + p.GetNamespace()
	if p.GetNamespace() == "" {
		where = "all namespaces"
	}
	return s.refuse(c.caller.Remote, "limits", newProblem(forbidden, "%s is limited %s, and this concerns %s: the cloud has %s", c.caller.Name, c.caller.limits(), where, cloud.GetNamespace()))
}
