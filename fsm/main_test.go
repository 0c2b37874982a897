package fsm

import (
	"flag"
	"os"
	"testing"
)

// TestMain has fewer random sequences checked under the race detector, unless a number
// was asked for.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if underRace && !given {
		if err := flag.Set("rapid.checks", "15"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
