// Package deploy is how Keysteward is run in Kubernetes: container images (image), a Helm
// chart, a kustomize base rendered from it, an example of validators, and the command
// that makes a cluster's Secrets (secrets). There is no code in it but tests of the
// manifests, which a real API server reads too.
package deploy
