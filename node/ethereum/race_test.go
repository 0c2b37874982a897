//go:build race

package ethereum

// underRace: long walks and large chains find what they find without the race detector,
// which makes them ten times slower. `make test` runs them in full without it.
const underRace = true
