// Package keystore writes validator keys as EIP-2335 keystores (version 4) in the
// folder layout that a validator client reads, and reads them back.
//
// Write is made for init containers: it can be run again and again on the same
// folder, be killed at any instruction, and meet a full disk. What it promises:
//
//   - All files or none. New files are written and synced in a hidden folder
//     inside the destination, then moved into place, passwords before keys. The
//     manifest is moved last; only a folder with a manifest is complete. The
//     destination itself is never replaced, because it may be a mount point.
//   - The hidden folder is the journal as well: it holds the next manifest until
//     that is moved. The next run takes back what a killed run had moved, by name
//     and SHA-256, and nothing else.
//   - One run at a time: the destination is locked with flock, which ends with the
//     process, so a left-over hidden folder under a held lock has no living owner.
//   - Nothing is touched in a folder that holds other keys or, without a manifest,
//     anything foreign. Beside a manifest, files that validator clients keep next
//     to their keys (databases, lock files) are left alone.
//   - A second run with the same keys changes nothing if every file still has the
//     hash and the mode it was given. Only missing keys and damaged ones are
//     written; a key that is asked for is never removed.
//   - Keys of validators that are over may stay in the folder, and keys that nobody
//     may sign with any more are taken out, if the caller names them.
package keystore
