package main

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/cluster/chaos/command"
)

func someProgram() program {
	return program{nodes: 3, duration: 10 * time.Minute, gap: 2 * time.Second, seed: 7, failpoints: true, disks: true, kubernetes: "script", network: networkNamespaces}
}

// story is a plan without what can not be compared.
func story(plan []strike) (list []string) {
	for _, s := range plan {
		list = append(list, s.String())
	}
	return list
}

func TestSameSeedSamePlan(t *testing.T) {
	t.Parallel()
	p := someProgram()
	again := plan(p, kinds())
	require.Equal(t, story(plan(p, kinds())), story(again))
	q := p
	q.seed++
	require.NotEqual(t, story(plan(p, kinds())), story(plan(q, kinds())))
}

func TestPlan(t *testing.T) {
	t.Parallel()
	list := plan(someProgram(), kinds())
	seen, together := map[string]int{}, 0
	var last time.Duration
	for i, s := range list {
		require.Equal(t, i+1, s.number)
		require.GreaterOrEqual(t, s.at, last)
		require.Less(t, s.at, 10*time.Minute)
		require.GreaterOrEqual(t, s.lasts, s.kind.shortest)
		require.LessOrEqual(t, s.lasts, s.kind.longest)
		last = s.at
		seen[s.kind.name]++
		on := 0
		for _, other := range list[:i] {
			if other.at+other.lasts > s.at {
				on++
			}
		}
		require.Less(t, on, most, "not more at a time")
		if on > 0 {
			together++
		}
	}
	for _, k := range kinds() {
		require.Positive(t, seen[k.name], "%s in ten minutes", k.name)
	}
	require.Greater(t, together, len(list)/3, "many overlap")
}

func TestPlanWithoutFailpoints(t *testing.T) {
	t.Parallel()
	p := someProgram()
	p.failpoints = false
	require.NotEmpty(t, plan(p, kinds()))
	require.False(t, slices.ContainsFunc(plan(p, kinds()), func(s strike) bool { return s.kind.points }))
}

func TestParse(t *testing.T) {
	t.Parallel()
	p, err := parse([]string{"--nodes", "5", "--seed", "3", "--duration", "15m", "--only", "kill,sleep"})
	require.NoError(t, err)
	require.Equal(t, 5, p.nodes)
	some, err := kindsNamed(p.only)
	require.NoError(t, err)
	require.Len(t, some, 2)
	for _, args := range [][]string{{"--nodes", "4"}, {"--duration", "0s"}, {"--gap", "-1s"}, {"--only", "flood"}} {
		_, err := parse(args)
		require.ErrorIs(t, err, command.ErrUsage, "%v", args)
	}
}

// A node that found out itself that it differs says so last.
func TestWhyANodeEnded(t *testing.T) {
	t.Parallel()
	why := lastError("    level=ERROR msg=before\n    keysteward: log entry 7: this node differs from the others\n    level=INFO msg=other\n")
	require.Equal(t, "keysteward: log entry 7: this node differs from the others", why)
	require.True(t, confesses(why))
	require.False(t, confesses("keysteward: write the log: no space left on device"))
}

// Members are struck one fault at a time, disks one at a time.
func TestClaims(t *testing.T) {
	t.Parallel()
	s := &stage{count: 3}
	x := newTorment(s, &seen{}, nil)
	x.seen.leader.Store(1)
	named := func(name string) strike {
		some, err := kindsNamed(name)
		require.NoError(t, err)
		return strike{kind: some[0]}
	}
	kill, replace, part, roll := named("kill"), named("replace"), named("part"), named("roll")
	kill.leader = true
	first, ok := x.claim(kill)
	require.True(t, ok)
	require.Equal(t, 1, first, "the leader")
	second, ok := x.claim(replace)
	require.True(t, ok)
	require.Equal(t, 0, second)
	_, ok = x.claim(replace)
	require.False(t, ok, "one disk at a time")
	_, ok = x.claim(roll)
	require.False(t, ok)
	_, ok = x.claim(part)
	require.True(t, ok, "links are nobody's")
	require.False(t, s.seize(1))
	require.True(t, s.seize(2))
	_, ok = x.claim(kill)
	require.False(t, ok, "all are struck")
	s.leave(2)
	x.free(replace, second, true)
	x.free(kill, first, true)
	_, ok = x.claim(roll)
	require.True(t, ok)
	_, ok = x.claim(kill)
	require.False(t, ok, "all are restarted")
	x.free(roll, 0, true)
	lost, ok := x.claim(replace)
	require.True(t, ok)
	x.free(replace, lost, false)
	_, ok = x.claim(replace)
	require.False(t, ok, "it does not vote again yet, so no other disk may be lost")
}
