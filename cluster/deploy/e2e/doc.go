// Package e2e plays the life of a cluster in a whole Kubernetes (`make e2e`): it installs
// the chart, gives validators keys, and then kills, deletes, cuts off and drains what can
// be. Its tests have the build tag e2e and need the nodes that scripts/e2e starts.
//
// Whether a key signs in two places is not asked of Kubernetes and not of Keysteward:
// each validator writes down, outside of both, that it runs and with which keys.
package e2e
