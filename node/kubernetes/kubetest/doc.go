// Package kubetest runs a real API server of Kubernetes with its etcd for tests, and
// on demand kube-controller-manager, which signs certificates: processes with an
// authority of their own, on one port of loopback, in the folder of the test, which end
// with it. Nothing runs pods; they are objects. The programs come from scripts/tool,
// which builds them the first time.
package kubetest
