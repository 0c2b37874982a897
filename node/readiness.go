package node

import (
	"context"
	"time"
)

// readinessInterval is how often readiness is looked at for the log; what lasts
// for less than two looks, such as a change of leader, is not worth a line.
const readinessInterval = time.Second

// LogReadiness writes a line whenever one of the node's [Checks] fails for a
// while, with the reason, and when it is well again. It returns when the context
// ends.
func (n *Node) LogReadiness(ctx context.Context) {
	ticker := time.NewTicker(readinessInterval)
	defer ticker.Stop()
	told := readinessLog{failing: make(map[string]int), said: make(map[string]string)}
	for {
		for _, c := range n.Checks() {
			switch told.observe(c) {
			case lineFails:
				n.log.Warn("not ready", "check", c.Name, "reason", c.Detail)
			case lineWell:
				n.log.Info("well again", "check", c.Name, "detail", c.Detail)
			case lineNone:
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// line is what an observation is worth in the log.
type line int

const (
	lineNone line = iota
	lineFails
	lineWell
)

// readinessLog remembers what was observed and what was told.
type readinessLog struct {
	failing map[string]int    // check → how often in a row it failed
	said    map[string]string // check → the reason that was told
}

func (r readinessLog) observe(c Check) line {
	_, told := r.said[c.Name]
	if c.OK {
		delete(r.failing, c.Name)
		delete(r.said, c.Name)
		if told {
			return lineWell
		}
		return lineNone
	}
	r.failing[c.Name]++
	// A reason may hold a number that changes all the time, so one line is enough.
	if told || r.failing[c.Name] < 2 {
		return lineNone
	}
	r.said[c.Name] = c.Detail
	return lineFails
}
