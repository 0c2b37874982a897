// Command chaos torments a cluster of real processes at random and checks that it keeps
// its promises. `make chaos` runs it; README.md says what is checked.
//
// Everything that is drawn is drawn from one seed, which is printed first: which faults
// happen when, to whom, for how long, and together with what; and what the clients do.
// What the processes make of it is not repeated by the same seed, only likely.
package main
