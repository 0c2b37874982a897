// Package ethereum is the leader's duty on the Ethereum side: it derives the
// validator keys that requests wait for, and pays their deposits, each once.
//
// [Duty.Run] is a level-triggered loop. Every pass reads the replicated state,
// looks at the chain, acts, and proposes what it saw. No pass remembers
// anything that a later one needs, so a pass may fail, be cut off, or be
// continued late by a leader that was paused, at any instruction.
//
// Why no stake is ever paid twice:
//
//   - The deposit contract takes the same public key again and again; nobody
//     but us prevents a second payment. So one public key has at most one
//     deposit in the state, all transactions of one deposit carry one nonce,
//     and the chain runs one transaction per nonce.
//   - A nonce is used up by nothing but the SignDeposits command, which holds
//     the exact signed bytes. The state machine accepts it only in the current
//     session and only for the account's next nonce.
//   - Bytes are sent only when they were read back from the applied state. Any
//     later leader sends the same bytes, which the chain takes once.
//   - A deposit is given up, and planned again with another nonce, only on final
//     proof that its nonce was used by something else and that the chain holds
//     no DepositEvent for its public key. Silence and time-outs prove nothing.
//
// The package speaks JSON-RPC to an execution client and contains no part of
// one. DESIGN.md beside this file goes through the crash points.
package ethereum
