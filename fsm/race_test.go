//go:build race

package fsm

// underRace: sequences of commands run in one goroutine, where the race detector finds
// nothing and makes everything several times slower. `make test` runs them in full
// without it.
const underRace = true
