// Package wire is what goes over HTTP: the types of openapi.yaml, generated for
// server and client alike, and the sealing of secrets to the one client that
// asked for them. Both sides build everything that has to agree from here.
package wire
