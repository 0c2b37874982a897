// Package pki keeps the certificate, key and authorities of one port as they are on
// disk, so that they can be renewed while the node runs.
//
// Files are looked at when a connection begins, at most once a second, and by a tick
// of their owner. New files take the place of the old ones whole or not at all: a
// certificate whose key has not been written yet, one that nobody would accept, or a
// file that everybody may read changes nothing but what log, metrics and readiness say.
package pki
