// Package kubernetes is what a node asks the API of Kubernetes. Today that is one
// question: which pod does a projected service-account token belong to
// ([Reviewer])?
package kubernetes
