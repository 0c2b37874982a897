// Command crash attacks the way of a deposit at every step, with real processes:
// three nodes of Keysteward that were built with failpoints, and a real geth with
// the real deposit contract. `make crash` runs it.
//
// A case is one failpoint and one fault. Pods ask for keys; the leader is caught at
// the point, and there it is
//
//   - killed (SIGKILL), and started again later,
//   - paused (SIGSTOP) until another one leads, and woken to go on at that very
//     instruction,
//   - cut off from the other members, but neither from the chain nor from clients,
//     and let go on while it is cut off.
//
// More pods ask meanwhile. In the end everything works again, every pod must have
// its keys, and the books are checked (package books): what the chain holds, block by
// block, against what each node answers. Whatever differs is a violation.
//
// What may vary in a case (how many pods and keys, when the leader is woken, let go
// or started again) is drawn from a seed, which is printed.
package main
