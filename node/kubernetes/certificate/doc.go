// Package certificate knows what a client certificate of a logical cloud is: its
// names and labels, its key, the request for it (PKCS#10, RFC 2986) and the object
// that carries the request to Kubernetes (certificates.k8s.io/v1), when such an
// object may be approved, and whether what a signer issued is what was asked for.
//
// It is pure: no network, no disk, no clock but the times that are passed in, and
// nothing else of ours. Kubernetes can not revoke a client certificate, so the
// common name carries the generation of its cloud ([CommonName]) and bindings name
// exactly that; a certificate of an earlier generation logs in as somebody who may
// do nothing.
package certificate
