package api

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/labstack/echo/v4"

	"github.com/keysteward/keysteward/api/wire"
)

func (s *Server) listAllocations(c *call) (answer, error) {
	return streamed(echo.MIMEApplicationJSON, c.reading.writeJSON), nil
}

// getAllocation shows what a pod holds, what it waits for, or both.
func (s *Server) getAllocation(c *call) (answer, error) {
	namespace, pod, view := c.object.namespace, c.object.pod, c.reading.view
	a, r := view.Allocation(namespace, pod), view.Request(namespace, pod)
	if a == nil && r == nil {
		return answer{}, newProblem(notFound, "pod %s/%s holds no keys and waits for none", namespace, pod)
	}
	var status wire.PodStatus
	if a != nil {
		status.Allocation = allocationOf(view.Meta(), a)
	}
	if r != nil {
		status.Pending = pendingOf(view, r)
	}
	return ok(status), nil
}

// writeJSON writes a [wire.Assignments] one allocation at a time, because there
// may be 100,000 keys.
func (r reading) writeJSON(w io.Writer) error {
	m := r.view.Meta()
	id, err := json.Marshal(m.GetClusterId())
	if err != nil {
		return fmt.Errorf("encode the cluster ID: %w", err)
	}
	_, err = fmt.Fprintf(w, `{"clusterId":%s,"appliedIndex":%d,"ageMs":%d,"assignments":[`, id, m.GetAppliedIndex(), r.ageMs)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	comma := ""
	for a := range r.allocations() {
		row, err := json.Marshal(allocationOf(m, a))
		if err != nil {
			return fmt.Errorf("encode an allocation: %w", err)
		}
		if _, err := fmt.Fprintf(w, "%s\n%s", comma, row); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		comma = ","
	}
	if _, err := io.WriteString(w, "]}\n"); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
