// Package node is one member of the cluster: its log, its snapshots, its
// connections to the other members, and the leadership session in which it may
// act for all of them.
//
// DESIGN.md beside this file says why it is built so.
package node
