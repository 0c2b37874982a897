package main

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/cluster/chaos/command"
	"github.com/keysteward/keysteward/node/ethereum"
	"github.com/keysteward/keysteward/node/failpoint"
)

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func TestPlanTriesEveryFaultAtEveryPoint(t *testing.T) {
	t.Parallel()
	list := plan(seeded(1), allPoints(), allFaults())
	require.Len(t, list, 27)
	seen := map[string]bool{}
	for i, trial := range list {
		require.Equal(t, i+1, trial.number)
		require.Positive(t, trial.keys())
		require.NotEmpty(t, trial.late, "somebody asks while the fault lasts")
		require.Equal(t, trial.point == ethereum.PointReplacementSigned || trial.point == ethereum.PointReplacementLogged, trial.dear)
		require.Contains(t, trial.String(), string(trial.fault)+" at "+string(trial.point))
		seen[string(trial.fault)+" "+string(trial.point)] = true
	}
	require.Len(t, seen, 27)
	require.Equal(t, list, plan(seeded(1), allPoints(), allFaults()), "the seed decides")
	require.NotEqual(t, list, plan(seeded(2), allPoints(), allFaults()))
}

// A leader that is paused or cut off is back only when another one has led.
func TestMoments(t *testing.T) {
	t.Parallel()
	met := map[fault]map[moment]bool{faultKill: {}, faultPause: {}, faultCut: {}}
	for seed := range uint64(50) {
		for _, trial := range plan(seeded(seed), allPoints(), allFaults()) {
			met[trial.fault][trial.heal] = true
		}
	}
	require.Equal(t, map[fault]map[moment]bool{
		faultKill:  {atOnce: true, newLeads: true, answered: true},
		faultPause: {newLeads: true, answered: true},
		faultCut:   {newLeads: true, answered: true},
	}, met)
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	c, err := parse([]string{"--runs", "3", "--seed", "7", "--point", "sent", "--fault", "cut"})
	require.NoError(t, err)
	require.Equal(t, 3, c.runs)
	require.Equal(t, uint64(7), c.seed)
	require.Equal(t, []failpoint.Name{ethereum.PointSent}, c.points)
	require.Equal(t, []fault{faultCut}, c.faults)
	for _, args := range [][]string{{"--point", "nowhere"}, {"--fault", "none"}, {"--runs", "0"}} {
		_, err := parse(args)
		require.ErrorIs(t, err, command.ErrUsage, "%v", args)
	}
}
