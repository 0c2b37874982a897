package history

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const judgeTime = 20 * time.Second

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// script is a history that is written as it is read: each operation begins and ends
// after the one before, unless it says otherwise.
type script struct{ ops []Op }

func (s *script) add(o Op) *script {
	if o.End == 0 {
		at := len(s.ops) * 10
		o.Begin, o.End = ms(at+1), ms(at+9)
	}
	o.Pod = "p"
	if o.Outcome == "" {
		o.Outcome = Done
	}
	s.ops = append(s.ops, o)
	return s
}

func (s *script) ask(uid string, h *Holding) *script {
	return s.add(Op{Kind: Allocate, UID: uid, Held: h})
}

func (s *script) askUnknown(uid string) *script {
	return s.add(Op{Kind: Allocate, UID: uid, Outcome: Unknown})
}

func (s *script) see(h *Holding) *script { return s.add(Op{Kind: Read, Held: h}) }

func (s *script) free(uid string, fence int64, confirmed bool) *script {
	return s.add(Op{Kind: Release, UID: uid, Fence: fence, Confirmed: confirmed})
}

func (s *script) refused(uid string, fence int64, why string) *script {
	return s.add(Op{Kind: Release, UID: uid, Fence: fence, Outcome: Refused, Why: why})
}

func (s *script) freeUnknown(uid string, fence int64, confirmed bool) *script {
	return s.add(Op{Kind: Release, UID: uid, Fence: fence, Confirmed: confirmed, Outcome: Unknown})
}

func hold(uid string, fence int64, keys ...string) *Holding {
	return &Holding{UID: uid, Fence: fence, Keys: keys}
}

func rest(uid string, fence int64, keys ...string) *Holding {
	return &Holding{UID: uid, Fence: fence, Keys: keys, Resting: true}
}

func proof(uid string, fence int64, keys ...string) *Holding {
	return &Holding{UID: uid, Fence: fence, Keys: keys, Resting: true, Proven: true}
}

func TestHistoriesThatCanBe(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*script{
		"nothing":                    new(script).see(nil),
		"granted at once":            new(script).ask("a", hold("a", 1, "k")).ask("a", hold("a", 1, "k")).see(hold("a", 1, "k")),
		"granted later":              new(script).ask("a", nil).see(nil).see(hold("a", 1, "k")).ask("a", hold("a", 1, "k")),
		"granted by an unknown":      new(script).askUnknown("a").see(hold("a", 1, "k")),
		"unknown that never was":     new(script).askUnknown("a").see(nil).see(nil),
		"unknown that came late":     new(script).askUnknown("a").ask("b", hold("b", 1, "k")).free("b", 1, true).see(nil).see(hold("a", 5, "k")),
		"rests and is proven":        new(script).ask("a", hold("a", 1, "k")).free("a", 1, false).see(rest("a", 2, "k")).free("a", 2, true).see(proof("a", 2, "k")).see(nil),
		"proven at once":             new(script).ask("a", hold("a", 1, "k")).free("a", 1, true).see(nil),
		"comes back":                 new(script).ask("a", hold("a", 1, "k")).free("a", 1, false).ask("a", hold("a", 3, "k")),
		"comes back with proof":      new(script).ask("a", hold("a", 1, "k")).free("a", 1, true).ask("a", hold("a", 3, "k")),
		"tops up":                    new(script).ask("a", hold("a", 1, "k")).ask("a", nil).see(hold("a", 1, "k")).see(hold("a", 4, "k", "l")),
		"the next one":               new(script).ask("a", hold("a", 1, "k")).ask("b", nil).free("a", 1, true).see(hold("b", 3, "k")),
		"unknown release that was":   new(script).ask("a", hold("a", 1, "k")).freeUnknown("a", 1, false).see(rest("a", 2, "k")).refused("a", 1, StaleFence),
		"unknown release, never":     new(script).ask("a", hold("a", 1, "k")).freeUnknown("a", 1, false).see(hold("a", 1, "k")),
		"released, then refused":     new(script).ask("a", hold("a", 1, "k")).free("a", 1, true).refused("a", 1, NotFound),
		"somebody else's":            new(script).ask("a", hold("a", 1, "k")).refused("b", 1, NotFound),
		"withdrawn":                  new(script).ask("a", nil).free("a", 0, false).see(nil),
		"a refusal that says nil":    new(script).add(Op{Kind: Allocate, UID: "a", Outcome: Refused, Why: "no-leader"}).see(nil),
		"unknown release of nothing": new(script).freeUnknown("a", 1, true).see(nil),
		"topped up, then refused":    new(script).ask("a", hold("a", 1, "k")).ask("a", nil).refused("a", 1, StaleFence).see(hold("a", 4, "k", "l")),
		"a release without a quorum": new(script).ask("a", hold("a", 1, "k")).refused("a", 1, "no-leader").see(hold("a", 1, "k")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, Linearizable(s.ops, judgeTime, ""))
		})
	}
}

func TestHistoriesThatCanNotBe(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*script{
		"from nowhere":             new(script).see(hold("a", 1, "k")),
		"two holders":              new(script).ask("a", hold("a", 1, "k")).ask("b", hold("b", 2, "k")),
		"stale read":               new(script).ask("a", hold("a", 1, "k")).free("a", 1, false).see(hold("a", 1, "k")),
		"stale read of nothing":    new(script).ask("a", hold("a", 1, "k")).see(nil),
		"rest without release":     new(script).ask("a", hold("a", 1, "k")).see(rest("a", 2, "k")),
		"rest that just ends":      new(script).ask("a", hold("a", 1, "k")).free("a", 1, false).see(nil),
		"next one without proof":   new(script).ask("a", hold("a", 1, "k")).free("a", 1, false).ask("b", hold("b", 3, "k")),
		"other keys":               new(script).ask("a", hold("a", 1, "k")).see(hold("a", 1, "l")),
		"fewer keys":               new(script).ask("a", hold("a", 1, "k", "l")).ask("a", hold("a", 2, "k")),
		"fence that goes back":     new(script).ask("a", hold("a", 5, "k")).free("a", 5, true).ask("b", hold("b", 4, "k")),
		"fence that stays":         new(script).ask("a", hold("a", 5, "k")).free("a", 5, false).see(rest("a", 5, "k")),
		"lost allocation":          new(script).ask("a", hold("a", 1, "k")).refused("a", 1, NotFound),
		"refused for no reason":    new(script).ask("a", hold("a", 1, "k")).refused("a", 1, StaleFence),
		"released with old fence":  new(script).ask("a", hold("a", 1, "k")).free("a", 1, false).see(rest("a", 2, "k")).free("a", 1, true),
		"released what is another": new(script).ask("a", hold("a", 1, "k")).free("b", 1, true),
		"another's keys":           new(script).ask("a", hold("b", 1, "k")),
		"granted while it rests":   new(script).ask("a", hold("a", 1, "k")).free("a", 1, false).ask("a", rest("a", 2, "k")),
		"waits without asking":     new(script).add(Op{Kind: Read, Waiting: "a"}),
		"another at the fence":     new(script).ask("a", hold("a", 1, "k")).see(hold("b", 1, "k")),
		"rests when it is granted": new(script).ask("a", nil).see(rest("a", 1, "k")),
		"tops up at the fence":     new(script).ask("a", hold("a", 1, "k")).ask("a", nil).see(hold("a", 1, "k", "l")),
		"tops up without asking":   new(script).ask("a", nil).see(hold("a", 1, "k")).see(hold("a", 4, "k", "l")),
		"fence that creeps":        new(script).ask("a", hold("a", 1, "k")).free("a", 1, false).see(rest("a", 3, "k")).see(rest("a", 4, "k")),
		"withdrawn, never asked":   new(script).free("a", 0, false),
		"granted after withdrawal": new(script).ask("a", nil).free("a", 0, false).see(hold("a", 1, "k")),
		"granted after release":    new(script).ask("a", hold("a", 1, "k")).ask("a", nil).free("a", 1, false).see(hold("a", 3, "k", "l")),
		"proof forgotten":          new(script).ask("a", hold("a", 1, "k")).free("a", 1, true).see(rest("a", 2, "k")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			picture := filepath.Join(t.TempDir(), "history.html")
			found := Linearizable(s.ops, judgeTime, picture)
			require.Len(t, found, 2, "what is wrong, and where it is drawn")
			require.Contains(t, found[0], "the history of p is not linearizable")
			require.FileExists(t, picture)
		})
	}
}

// Operations that overlap may have happened in any order.
func TestConcurrentOperations(t *testing.T) {
	t.Parallel()
	s := new(script).ask("a", hold("a", 1, "k"))
	s.add(Op{Kind: Release, UID: "a", Fence: 1, Begin: ms(20), End: ms(60)})
	s.add(Op{Kind: Read, Held: hold("a", 1, "k"), Begin: ms(30), End: ms(40), Client: 2})
	require.Empty(t, Linearizable(s.ops, judgeTime, ""), "the read was before the release")
	s.add(Op{Kind: Read, Held: rest("a", 2, "k"), Begin: ms(42), End: ms(44), Client: 2})
	require.Empty(t, Linearizable(s.ops, judgeTime, ""), "and this one after it")
	s.add(Op{Kind: Read, Held: hold("a", 1, "k"), Begin: ms(46), End: ms(48), Client: 3})
	require.NotEmpty(t, Linearizable(s.ops, judgeTime, ""), "nobody sees it undone")
}

// Names are judged apart, and stale reads elsewhere.
func TestOthersAreNoConcern(t *testing.T) {
	t.Parallel()
	s := new(script).ask("a", hold("a", 1, "k"))
	s.add(Op{Kind: StaleRead})
	s.add(Op{Kind: Read, Outcome: Unknown})
	s.add(Op{Kind: Read})
	s.ops[3].Pod = "q"
	require.Empty(t, Linearizable(s.ops, judgeTime, ""))
}
