// Command bench measures a real cluster of three node processes on this
// machine, and in the same run what it is compared with: Raft with the same log
// store and nothing on top.
//
// It prints a table, and writes the same figures as JSON to the file that the
// environment variable BENCH_JSON names.
package main
