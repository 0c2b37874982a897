// Package local runs a whole Keysteward cluster on one machine: a development
// chain inside the launcher's own process, and N nodes as processes of their own,
// all on loopback. It is what `make run` starts, and what end-to-end tests start.
//
// # What survives what
//
// Everything lies in one folder, and a launcher that is started again on it goes
// on with the same chain, nodes, tokens and seed. Nodes may be killed at any time;
// SIGHUP makes the launcher start those that ended. If the launcher itself is
// killed, Linux kills its children with it (PR_SET_PDEATHSIG), so nothing is left
// behind that would hold ports and locks.
//
// # Secrets
//
// The folder holds every secret of the cluster in the clear: funding account, key-
// encryption key, tokens, mnemonic. That is fine for a chain whose ether is worth
// nothing, and for nothing else. The nodes get them as any node does: as files.
package local
