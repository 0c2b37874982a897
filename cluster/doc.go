// Package cluster makes single nodes into a cluster: members find each other,
// the first of them founds the cluster once all are there and empty, and each
// tells the leader where its API is.
//
// DESIGN.md beside this file says why it is built so.
package cluster
