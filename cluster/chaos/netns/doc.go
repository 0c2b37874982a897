// Package netns puts each node of a cluster into a network namespace of its own, with an
// address of its own, and stands between them: packets between namespaces go through this
// process, which passes them on, late, or not at all, each direction by itself.
//
// So no filter, no bridge and no queueing discipline of the kernel is needed, only /dev/net/tun
// and the right to make namespaces (root). TCP is the kernel's, with all its retries: what is
// dropped here is dropped as a cable would.
//
// The process itself has to be in a fresh namespace, so that nothing of it is to be seen on
// the machine's own network, and nothing is left when it ends, however it ends: see [Enter].
package netns
