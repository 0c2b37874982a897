// Package fsm is what the cluster agrees on: the state, the commands that
// change it, and its snapshots.
//
// It is pure. The same log applied on any machine gives the same state, byte
// for byte (see [View.Hash]), because nothing here reads a clock, a random
// number, the network, a disk, or decrypts anything: time, identifiers and
// ciphertext arrive inside commands. A linter keeps it so.
//
// A command that the state does not allow is answered with a [Refusal], which
// is a value like any other and the same on every machine. An error of
// [Machine.Apply] means that this machine can not go on: the entry is damaged
// or of a kind that this version does not know.
//
// DESIGN.md beside this file says why keys move between holders the way they do.
package fsm
