// Package devchain runs an Ethereum chain for development and tests inside the
// calling process: go-ethereum as a library, one block each Period, JSON-RPC
// over HTTP, and the real deposit contract in the genesis block, so that a
// deposit costs gas, reverts and logs exactly as on a public network.
//
// It is an execution client without a consensus client. Nothing verifies
// signatures of validators, nobody is slashed, and the fork version is a made-up
// one, so that a deposit signed for this chain is void on every public network.
//
// # What survives
//
// A chain goes on where it was: after Close and Start, and also after its
// process was killed at any instruction. Tests of software that must never pay
// twice would be worthless on a chain that forgets payments, so the promise is
// strict: whatever an answer over RPC has shown is on disk. Three choices make
// it so.
//
//   - State is kept by hash and every block's state is written with the block
//     (an archive node). The path-based layout keeps the newest state in memory
//     and writes it when it is closed; a killed process would go back by as much.
//   - After every block the database's write-ahead log is forced to disk.
//     Without it the last writes, often several blocks, sit in a buffer of the process.
//   - An answer that was computed while a block was being sealed is held back
//     until that block is on disk. Nobody can see a block that may vanish.
//
// Transactions that are in no block yet are kept in memory only and are gone
// after a restart, as they may be on any network; who sent them sends them again.
//
// # Size
//
// The system contracts of EIP-4788 and EIP-2935 are left out of the genesis
// block, which both EIPs allow. They would change the state in every block,
// also an empty one, and an archive that seals twice a second would grow by
// gigabytes a day. Without them an empty block costs its header.
//
// # Time
//
// A header's time is a whole second and must grow with every block. Below a
// Period of one second the headers' time therefore runs ahead of the wall clock,
// at 500 ms by one second each second, and stays ahead until as much time has
// passed without blocks. go-ethereum does not compare a header with the clock
// after the merge, and there is no consensus client that would.
//
// # Finality
//
// "safe" is the newest block. "finalized" moves in steps of 32 blocks, to each
// block whose number is a multiple of 32 as soon as it is sealed; until block 32
// it is the genesis block. There are no reorganisations.
//
// # Limits
//
// Logs are searched without an index, some 20 microseconds per block: after a day
// at two blocks a second a search from the first block takes seconds.
//
// go-ethereum logs through a package-level logger. Start replaces it, for the
// whole process; of several chains in one process the last one's Logger gets the
// lines of all, from warnings upwards. go-ethereum ends the process when it
// cannot write a block to its database (a full disk).
//
// No peer-to-peer port, discovery, IPC, WebSocket or engine API is opened: the
// address that RPC returns is the only one that listens.
//
// Building this package compiles most of go-ethereum, which takes minutes with a
// cold cache. Only programs and tests that host a chain should import it; the
// others talk to it over RPC.
package devchain
