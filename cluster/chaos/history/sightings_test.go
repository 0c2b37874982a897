package history

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sighting is a read of the pod's name at an index.
func sighting(kind Kind, begin, end int, index uint64, h *Holding) Op {
	return Op{Kind: kind, Pod: "p", Outcome: Done, Begin: ms(begin), End: ms(end), Index: index, Held: h, PID: 7}
}

func TestSightings(t *testing.T) {
	t.Parallel()
	asked := Op{Kind: Allocate, Pod: "p", UID: "a", Outcome: Unknown, Begin: ms(1), End: ms(2)}
	for name, c := range map[string]struct {
		ops  []Op
		says string // nothing is wrong without
	}{
		"nothing": {},
		"fine":    {ops: []Op{asked, sighting(StaleRead, 3, 4, 5, nil), sighting(Read, 5, 6, 9, hold("a", 1, "k")), sighting(StaleRead, 7, 8, 9, hold("a", 1, "k"))}},
		"another answer at the index": {
			[]Op{asked, sighting(Read, 3, 4, 9, hold("a", 1, "k")), sighting(StaleRead, 5, 6, 9, nil)},
			"two answers at one index",
		},
		"fence goes back with the index": {
			[]Op{asked, sighting(Read, 3, 4, 9, hold("a", 5, "k")), sighting(Read, 5, 6, 10, hold("a", 4, "k"))},
			"a fence went back",
		},
		"proof is lost": {
			[]Op{asked, sighting(Read, 3, 4, 9, proof("a", 5, "k")), sighting(Read, 5, 6, 10, rest("a", 5, "k"))},
			"a proof was lost",
		},
		"two at one fence": {
			[]Op{asked, sighting(Read, 3, 4, 9, hold("a", 5, "k")), sighting(Read, 5, 6, 10, hold("a", 5, "l"))},
			"one fence for two",
		},
		"a node forgets": {
			[]Op{asked, sighting(StaleRead, 3, 4, 9, nil), sighting(StaleRead, 5, 6, 8, nil)},
			"n1 went back",
		},
		"at the same time": {ops: []Op{asked, sighting(StaleRead, 3, 6, 9, nil), sighting(StaleRead, 5, 6, 8, nil)}},
		"not the latest": {
			[]Op{asked, {Kind: StaleRead, Pod: "q", Outcome: Done, Begin: ms(3), End: ms(4), Index: 9}, sighting(Read, 5, 6, 8, nil)},
			"not of the latest",
		},
		"stale may be old": {ops: []Op{asked, {Kind: StaleRead, Pod: "q", Outcome: Done, Begin: ms(3), End: ms(4), Index: 9}, sighting(StaleRead, 5, 6, 8, nil)}},
		"from the future": {
			[]Op{sighting(StaleRead, 0, 0, 9, hold("a", 1, "k")), asked},
			"had not asked",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := Sightings(c.ops)
			if c.says == "" {
				require.Empty(t, found)
				return
			}
			require.NotEmpty(t, found)
			require.Contains(t, strings.Join(found, "\n"), c.says)
		})
	}
}

func TestManySightingsAreFew(t *testing.T) {
	t.Parallel()
	var ops []Op
	for i := range 20 {
		ops = append(ops, sighting(StaleRead, 10*i, 10*i+1, uint64(100-i), nil))
	}
	found := Sightings(ops)
	require.Len(t, found, mostOfAKind+1)
	require.Contains(t, found[mostOfAKind], "and 14 more")
}

func TestSigning(t *testing.T) {
	t.Parallel()
	s := NewSigning()
	s.Begin("p", "a", []string{"k", "l"}, ms(1))
	s.Begin("p", "a", []string{"k", "l"}, ms(2)) // the same pod once more
	s.End("a")
	s.Begin("q", "b", []string{"k"}, ms(3))
	require.Empty(t, s.Found())
	s.Begin("r", "c", []string{"l", "k"}, ms(4))
	require.Len(t, s.Found(), 1)
	require.Contains(t, s.Found()[0], "two sign with k: UID b of q")
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	r := NewRecorder()
	before := r.Now()
	r.Note(Op{Kind: Read, Pod: "p", Outcome: Done, Held: proof("a", 3, "k"), Waiting: "b", Index: 7, Begin: before, End: r.Now()})
	r.Note(Op{Kind: Release, Pod: "p", UID: "a", Fence: 3, Confirmed: true, Outcome: Unknown, Why: "timeout"})
	require.Len(t, r.Ops(), 2)
	var out bytes.Buffer
	require.NoError(t, r.Write(&out))
	require.Equal(t, 2, strings.Count(out.String(), "\n"))
	require.Contains(t, r.Ops()[0].String(), "resting with proof by a at fence 3: k, b waits at index 7")
	require.Contains(t, r.Ops()[1].String(), "release p uid a fence 3 confirmed at n1: unknown (timeout)")
}
