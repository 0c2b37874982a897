// Package kubeconfig reads the kubeconfig that an operator registers for a Kubernetes
// cluster, and writes the one that a user of a logical cloud gets.
//
// It is pure: it reads no file, no environment and no clock, opens no connection and
// imports nothing else of ours. A registered kubeconfig comes from outside and is used
// by the server, so whatever would make the server run a program, read a file of its
// own, ask somebody else (a proxy) or believe any server is refused with the way out
// ([Parse]). What was accepted is written anew from the few fields that were
// understood ([Cluster.Canonical]); nothing else of the file survives.
package kubeconfig
