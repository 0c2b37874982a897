package testimony

import (
	"slices"

	core "k8s.io/api/core/v1"
)

// Machine is what an object of a node says that matters here. The zero value is that of
// a machine of which nothing is known.
type Machine struct {
	Name string
	// UID of its object: another machine may register under the name.
	UID string
	// Known: there is an object of the node.
	Known bool
	// Ready: its kubelet says so, and was heard of lately.
	Ready bool
	// OutOfService: it carries the taint node.kubernetes.io/out-of-service, an
	// operator's word that it is off.
	OutOfService bool
}

// ReadNode takes from a node's object what it says. It keeps nothing of the object.
func ReadNode(node *core.Node) Machine {
	return Machine{
		Name: node.Name, UID: string(node.UID), Known: true,
		Ready: slices.ContainsFunc(node.Status.Conditions, func(c core.NodeCondition) bool {
			return c.Type == core.NodeReady && c.Status == core.ConditionTrue
		}),
		OutOfService: slices.ContainsFunc(node.Spec.Taints, func(t core.Taint) bool { return t.Key == core.TaintNodeOutOfService }),
	}
}
