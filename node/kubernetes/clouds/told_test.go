package clouds

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// What a lane did is told in the log also where the state, by which nothing is left for the
// lane to do, is seen by all others before the lane has its answer.
func testToldThoughDone(t *testing.T, s *scene) {
	t.Helper()
	lines, in, leads := &journal{}, s.begin(), make(chan *Duty, 1)
	in.after = func(cmd *fsmpb.Command) bool {
		if len(cmd.GetObserveCertificates().GetObservations()) > 0 {
			d := <-leads
			leads <- d
			assignTwice(d)
		}
		return true
	}
	d, _ := s.leadIn(in, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(lines, nil)) })
	leads <- d
	s.cloud("c", []int{0})
	s.instantiate("c")
	s.awaitUp("c")
	s.terminate("c")
	s.awaitTerminated("c")
	for _, words := range []string{"certificate of a logical cloud is stored", "objects of a logical cloud are applied", "logical cloud is removed from a Kubernetes cluster"} {
		require.Eventually(t, func() bool { return len(lines.with(words)) == 1 }, patience, glance, words)
	}
}

// assignTwice has the worker of the first cluster read the state from its beginning to its end.
func assignTwice(d *Duty) {
	d.mu.Lock()
	w := d.workers[clusterKey{provider, clusterName(0)}]
	d.mu.Unlock()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for range 2 {
		w.poke()
		for until := time.Now().Add(patience); len(w.wake) > 0 && time.Now().Before(until); {
			<-tick.C
		}
	}
}
