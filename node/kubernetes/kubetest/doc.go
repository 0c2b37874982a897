// Package kubetest runs a real API server of Kubernetes with its etcd for tests:
// two processes on loopback, with an authority of their own, in the folder of the
// test, which end with it. Nothing runs pods; they are objects. The programs come
// from scripts/tool, which builds them the first time.
package kubetest
