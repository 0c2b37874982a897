// Package client talks to a Keysteward cluster: it finds the leader, repeats what
// may be repeated, and opens the secrets that were sealed to it.
//
// Whom it trusts. Credentials, and everything else, go to members only: the
// servers in Config.Servers, and those that one of these named in GET /v1/cluster.
// A redirect to any other origin is refused with ErrRedirect before a byte is sent
// there, and so is one from https to http. Plain http is for loopback; everything
// else is TLS 1.3 with the roots of Config.CAFile, or the system's without one. No
// proxy of the environment is used.
//
// What it repeats. Every request of this API says what is to be true afterwards,
// not what to do once more: a POST of an allocation joins the request that waits, a
// DELETE names the fence of what it releases, a PUT of the same seed changes
// nothing. So each may be repeated after a lost connection, a 503 or an unknown
// outcome, and none is given up while the caller still has time. What nobody can
// know in the end is told as ErrOutcomeUnknown.
//
// What it checks. Secrets are sealed by HPKE to a key that AllocateKeys makes for
// one call, and bound to the cluster, the pod and the UID that were asked for. An
// answer for anything else does not open; one whose keys, order or fence do not
// agree with what surrounds them is refused with ErrAnswer.
package client
