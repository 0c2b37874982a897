// Package credential is what a client-go credential plug-in does
// (client.authentication.k8s.io/v1): it gets the current certificate of a logical
// cloud's user from a cache or from the cluster, and tells client-go of it.
//
// # How old a cached certificate gets
//
// client-go calls a plug-in again when the expiration that it was told is over, or after
// Kubernetes answered 401, which the plug-in is not told. A key that was rotated is no
// longer good for anything, and Kubernetes says so with 403, for it knows the old
// certificate but binds nothing to it. So nothing is served from the cache for longer
// than a minute or so ([Source.For]) without asking the cluster which certificate is the
// newest: a rotated key is picked up within that time. To ask is cheap. The key is
// fetched only if there is another one, because each time is on record.
//
// # When the cluster does not answer
//
// A cached certificate that has not expired is served beyond that time, and the cluster
// is asked again at most every 30 s, for at most 5 s each. When the cluster does answer,
// and has no certificate for the user any more, the cached one is removed.
package credential
