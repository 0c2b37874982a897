// Package api is a node's HTTP interface, as openapi.yaml beside it describes:
// handlers, callers and permissions, redirects to the leader, pages, metrics.
//
// Every request takes one way, [Server] serve: who is asking and may they
// (authorize.go), are the parameters known (query.go), can this node answer
// (place.go), then the route's handler, then the answer. The routes are one
// table (routes.go); a test compares it with openapi.yaml. What goes wrong
// becomes a problem in one place (problem.go).
//
// Secrets leave only inside an HPKE message to the client that asked, after the
// state machine has logged the disclosure (allocate.go, disclose.go).
//
// DESIGN.md beside this file says why it is built so.
package api
