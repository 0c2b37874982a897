// Package history is what clients did and saw while a cluster was tormented, and whether
// a cluster that keeps its promises can have answered so.
//
// Each operation has a begin and an end on one monotonic clock. What became of it is known
// or not: one whose outcome is unknown may have happened at any time after its begin, also
// long after its caller gave up, or never.
package history

import (
	"fmt"
	"strings"
	"time"
)

// Kind of an operation.
type Kind string

// Operations of clients.
const (
	Allocate  Kind = "allocate"
	Release   Kind = "release"
	Read      Kind = "read"       // linearizable
	StaleRead Kind = "stale-read" // of one node
)

// Outcome of an operation.
type Outcome string

// What may become of an operation.
const (
	Done    Outcome = "done"
	Refused Outcome = "refused" // it surely changed nothing
	Unknown Outcome = "unknown"
)

// Refusals that say something about the state.
const (
	StaleFence = "stale-fence"
	NotFound   = "not-found"
)

// Holding is what a pod's name holds.
type Holding struct {
	UID   string   `json:"uid"`
	Fence int64    `json:"fence"`
	Keys  []string `json:"keys"`
	// Resting keys are released; Proven says that there is proof besides that their
	// holder can no longer sign.
	Resting bool `json:"resting,omitempty"`
	Proven  bool `json:"proven,omitempty"`
}

// Op is one operation about the name of a pod, at one node or where that one redirected.
type Op struct {
	Client int    `json:"client"`
	Kind   Kind   `json:"kind"`
	Pod    string `json:"pod"`
	// UID is of the pod that asks for keys, or whose keys are released.
	UID string `json:"uid,omitempty"`
	// Fence names the allocation to release; 0 withdraws a request.
	Fence int64 `json:"fence,omitempty"`
	// Confirmed says that the pod is stopped for good: proof.
	Confirmed bool `json:"confirmed,omitempty"`

	Outcome Outcome `json:"outcome"`
	// Why it was refused (the type of the problem), or the outcome is not known.
	Why string `json:"why,omitempty"`
	// Held is what the name holds by the answer, nil for nothing.
	Held *Holding `json:"held,omitempty"`
	// Waiting is the UID whose request waits, by the answer.
	Waiting string `json:"waiting,omitempty"`
	// Index is what the answer to a read says that was applied.
	Index uint64 `json:"index,omitempty"`
	// Node that answered, from 0, and its process; the process is 0 if it ended meanwhile.
	Node int `json:"node"`
	PID  int `json:"pid,omitempty"`
	// Begin is before the request was sent, End after the answer was read or given up.
	Begin time.Duration `json:"begin"`
	End   time.Duration `json:"end"`
}

// String is the operation for people, on one line.
func (o Op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s-%s %s %s", o.Begin.Round(time.Millisecond), o.End.Round(time.Millisecond), o.Kind, o.Pod)
	if o.UID != "" {
		fmt.Fprintf(&b, " uid %s", brief(o.UID))
	}
	if o.Kind == Release {
		fmt.Fprintf(&b, " fence %d", o.Fence)
	}
	if o.Confirmed {
		b.WriteString(" confirmed")
	}
	fmt.Fprintf(&b, " at n%d: %s", o.Node+1, o.Outcome)
	if o.Why != "" {
		b.WriteString(" (" + o.Why + ")")
	}
	if o.Kind != Release && o.Outcome == Done {
		b.WriteString(" " + o.Held.String())
	}
	if o.Waiting != "" {
		fmt.Fprintf(&b, ", %s waits", brief(o.Waiting))
	}
	if o.Index > 0 {
		fmt.Fprintf(&b, " at index %d", o.Index)
	}
	return b.String()
}

// String is the holding for people.
func (h *Holding) String() string {
	if h == nil {
		return "nothing"
	}
	what := "held"
	switch {
	case h.Proven:
		what = "resting with proof"
	case h.Resting:
		what = "resting"
	}
	keys := make([]string, len(h.Keys))
	for i, k := range h.Keys {
		keys[i] = brief(k)
	}
	return fmt.Sprintf("%s by %s at fence %d: %s", what, brief(h.UID), h.Fence, strings.Join(keys, " "))
}

func brief(text string) string { return text[:min(len(text), 10)] }
