//go:build !race

package ethereum

const underRace = false
