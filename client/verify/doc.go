// Package verify compares what a cluster says of its deposits with what an
// Ethereum chain holds, and names every difference.
//
// It believes neither side: the cluster is asked over its API, the chain is read
// by JSON-RPC from an execution client that the caller chooses, with code that
// shares nothing with the code that makes deposits. An account is clean when
//
//   - every key that can be handed out has its stake on the chain, once, with the
//     amount, credentials and signature that the cluster recorded, paid by the
//     transaction, account and nonce that it recorded, in the block that it recorded,
//   - no key of the cluster has a DepositEvent that the cluster does not know of,
//   - every nonce of a funding account, from its first deposit on, belongs to one
//     deposit or was given up, and the chain has used no more than those,
//   - the contract counts as many deposits as were read, so that none was hidden.
package verify
