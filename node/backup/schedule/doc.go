// Package schedule makes backups by itself, on the leader, into a folder or an
// S3-compatible bucket, and keeps the newest ones.
//
// What is there is asked of the place itself and not remembered, so another leader
// goes on where the last one was, and a backup that somebody removed is made anew. A
// backup counts once it was read back and checked. Old ones are removed only after
// that, only if they are of this cluster, and never the newest.
package schedule
