package node

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadinessLogTellsWhatLasts(t *testing.T) {
	t.Parallel()
	r := readinessLog{failing: make(map[string]int), said: make(map[string]string)}
	for i, step := range []struct {
		check Check
		want  line
	}{
		{Check{Name: "leader", OK: false}, lineNone}, // a change of leader
		{Check{Name: "leader", OK: true}, lineNone},
		{Check{Name: "unsealed", OK: false, Detail: "wrong key"}, lineNone},
		{Check{Name: "unsealed", OK: false, Detail: "wrong key"}, lineFails},
		{Check{Name: "leader", OK: true}, lineNone},
		{Check{Name: "unsealed", OK: false, Detail: "wrong key"}, lineNone}, // told already
		{Check{Name: "unsealed", OK: true}, lineWell},
		{Check{Name: "unsealed", OK: true}, lineNone},
	} {
		require.Equal(t, step.want, r.observe(step.check), "step %d", i)
	}
}
