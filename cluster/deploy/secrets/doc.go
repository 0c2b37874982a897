// Package secrets makes the Secrets that a cluster in Kubernetes needs before its
// nodes start: a key-encryption key, two authorities, the nodes' certificates, and a
// certificate for the first admin.
//
// What is there is never changed, so it can be run as often as one likes, and by
// several at once: whoever comes second takes what the first has made. A Secret that was
// deleted is made anew, with one exception: a key-encryption key that was made once
// and is gone is not replaced, because another one opens nothing of what the lost one
// has sealed. The Secret PREFIX-init remembers that there was one. Nor is anything made under a name that
// somebody gave for a Secret of his own.
package secrets
