// Package clouds brings logical clouds into their Kubernetes clusters: the leader's
// duty that generates keys, has certificates signed, applies namespaces, quotas,
// roles and bindings, renews, takes away what was terminated, and sweeps what was
// left over. What is wanted is in the replicated state; see DESIGN.md for what a
// leader does in which order and what a crash between two steps costs.
package clouds
