package cli

import (
	"fmt"

	"github.com/keysteward/keysteward/api/wire"
)

// eventsNotes tells of each member how far it has read DepositEvents.
func eventsNotes(g *grid, cluster wire.Cluster) {
	for _, node := range cluster.Nodes {
		if e := node.DepositEvents; e != (wire.DepositEvents{}) {
			g.note("%s: %s", node.ID, eventsText(e))
		}
	}
}

func eventsText(e wire.DepositEvents) string {
	text := fmt.Sprintf("DepositEvents read before block %d of %d (%d %%), %d so far", e.NextBlock, e.Head, 100*e.NextBlock/(e.Head+1), e.Events)
	if e.Complete {
		text = fmt.Sprintf("DepositEvents read up to block %d, %d in all", e.Head, e.Events)
	}
	if e.Waiting.Code != "" {
		text += fmt.Sprintf("; waiting: %s (%s)", e.Waiting.Detail, e.Waiting.Code)
	}
	return text
}

// termsNotes tells what each member would pay for, if that is not the same.
func termsNotes(g *grid, cluster wire.Cluster) {
	told, differ := "", false
	for _, node := range cluster.Nodes {
		differ = differ || told != "" && node.Terms != "" && node.Terms != told
		told = orElse(told, node.Terms)
	}
	for _, node := range cluster.Nodes {
		if differ && node.Terms != "" {
			g.note("%s would deposit by other flags than others: %s", node.ID, node.Terms)
		}
	}
}
