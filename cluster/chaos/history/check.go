package history

import (
	"fmt"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

// Linearizable checks with Porcupine that the operations can have happened one after the
// other, each between its begin and its end, or, where its outcome is not known, at any
// time after its begin or never. It returns what is wrong in words; then it has written
// a picture of the history (HTML) into the file, if one is named. It fails as well if it
// comes to no verdict within the limit.
func Linearizable(ops []Op, limit time.Duration, picture string) []string {
	all := operations(ops)
	result, info := porcupine.CheckOperationsVerbose(model, all, limit)
	if result == porcupine.Ok {
		return nil
	}
	found := []string{fmt.Sprintf("no verdict within %v whether the history of %d operations is linearizable", limit, len(all))}
	if result == porcupine.Illegal {
		found = illegal(all)
	}
	if picture == "" {
		return found
	}
	if err := draw(info, picture); err != nil {
		return append(found, err.Error())
	}
	return append(found, "the history is drawn in "+picture)
}

func draw(info porcupine.LinearizationInfo, picture string) error {
	file, err := os.Create(picture)
	if err != nil {
		return fmt.Errorf("picture of the history: %w", err)
	}
	defer file.Close()
	if err := porcupine.Visualize(model, info, file); err != nil {
		return fmt.Errorf("picture of the history: %w", err)
	}
	return nil
}

// illegal names the pods whose history is not linearizable, and the first operation up to
// which it is not.
func illegal(all []porcupine.Operation) (found []string) {
	for _, part := range byPod(all) {
		if porcupine.CheckOperations(model, part) {
			continue
		}
		// The shortest beginning that is illegal: it stays so however it goes on.
		low, high := 0, len(part)
		for low < high {
			if mid := (low + high) / 2; porcupine.CheckOperations(model, endedBy(part, mid)) {
				low = mid + 1
			} else {
				high = mid
			}
		}
		last := part[min(low, len(part)-1)].Input.(Op) //nolint:forcetypeassert // what operations made
		found = append(found, fmt.Sprintf("the history of %s is not linearizable, at the latest from this on: %s", last.Pod, last))
	}
	return found
}

// endedBy are the operations up to the one at that place in the order of ends, and those
// that had begun.
func endedBy(part []porcupine.Operation, at int) []porcupine.Operation {
	var some []porcupine.Operation
	until := part[min(at, len(part)-1)].Return
	for i, o := range part {
		switch {
		case i <= at:
			some = append(some, o)
		case o.Call < until: // it may have happened
			op := o.Input.(Op) //nolint:forcetypeassert // what operations made
			if op.Kind == Read {
				continue
			}
			op.Outcome, op.Held = Unknown, nil
			o.Input, o.Return = op, math.MaxInt64
			some = append(some, o)
		}
	}
	return some
}

// operations are those that the model has a word about. Ops are in the order of their ends.
func operations(ops []Op) []porcupine.Operation {
	var all []porcupine.Operation
	others := 1 + len(ops)
	for _, o := range ops {
		if o.Kind == StaleRead || o.Kind == Read && o.Outcome != Done || o.Outcome == Refused && !telling(o) {
			continue
		}
		p := porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Begin.Nanoseconds(), Return: o.End.Nanoseconds()}
		if o.Outcome == Unknown {
			// It goes on beside what its client does next.
			others++
			p.ClientId, p.Return = others, math.MaxInt64
		}
		all = append(all, p)
	}
	return all
}

// telling refusals say something about the state.
func telling(o Op) bool {
	return o.Kind == Release && (o.Why == StaleFence || o.Why == NotFound)
}
