// Package boltfile reads a bbolt file that may be damaged, to find out whether it is.
//
// bbolt trusts its file: it maps it into memory, dies of a file that was cut short by
// SIGBUS, and of a page that is not what it should be by a panic, partly in goroutines of
// its own where nobody can catch it. And of two meta pages it silently takes the older one
// if the newer is damaged, which undoes the last transaction that was acknowledged. So the
// file is read here first, with bounds, and without mapping it.
//
// What is in the values is not looked at: bbolt has no checksums over them.
package boltfile
