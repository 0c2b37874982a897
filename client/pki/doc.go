// Package pki makes certificates for those who have no authority of their own: one
// authority for the API and its callers, another for members alone, and what they
// vouch for. Keys are ECDSA on P-256, which every TLS implementation knows.
//
// Everything is kept in one folder, mode 0700, in files of mode 0600. Authorities are
// made once and never overwritten; certificates of nodes and callers are made anew,
// with new keys, whenever they are asked for.
package pki
