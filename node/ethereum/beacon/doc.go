// Package beacon notices exits: a duty of the leader that asks a beacon node for
// the validators of the cluster's keys, keeps their status in the replicated
// state, and retires the keys of validators that are slashed, exited or withdrawn.
//
// A retired key never comes back, so a mistake costs a stake. What counts as
// proof is therefore strict, and everything that falls short of it is left for
// the next sweep:
//
//   - The beacon node is of the cluster's network: chain ID and deposit contract
//     are the configured ones, the genesis too where it is known.
//   - It says that it is neither syncing nor optimistic and that its execution
//     client is there.
//   - The answer that counts says of itself that it is final and not optimistic.
//     The head shows what may be over; a second question about exactly those keys,
//     to the finalized state, decides. Finality never goes back.
//   - The answer agrees with itself: an exited validator has an exit epoch, one
//     that can be withdrawn from an epoch for that, one slashed says so twice.
//
// One bad key stops nobody: an answer is read validator by validator, and a batch
// that the beacon node refuses is halved until what it refuses stands alone. A
// batch that fails is left out; after a few in a row the sweep ends, and the next
// one begins behind them. A sweep holds one batch in memory, however many keys
// there are.
//
// The effective balance is kept, not the balance: that one changes with every
// epoch, for every validator, and each change would be a log entry's part.
package beacon
