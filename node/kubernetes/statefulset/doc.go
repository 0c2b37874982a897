// Package statefulset follows how many replicas one StatefulSet is to have: the one
// whose pods the members of the cluster are.
package statefulset
