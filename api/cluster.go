package api

import (
	"io"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node"
)

// getCluster answers from what this node knows.
func (s *Server) getCluster(c *call) (answer, error) {
	st := s.node.Status()
	w := wire.Cluster{
		ClusterID: c.reading.view.Meta().GetClusterId(),
		Leader:    st.LeaderID, Term: signed(st.Term),
		FailureTolerance: st.FailureTolerance(),
		FeatureLevel:     int(c.reading.view.Meta().GetFeatureLevel()),
		Nodes:            make([]wire.Node, 0, len(st.Peers)),
	}
	if view := c.reading.view; view.RestoreOpen() {
		w.Restore = restoreOf(view)
	}
	for _, p := range st.Peers {
		n := wire.Node{
			ID: p.ID, API: p.API, Raft: p.Raft, Voter: p.Voter, Role: wire.NodeRoleNonvoter,
			Waiting: p.Waiting(), Lag: max(p.Lag, -1), Terms: p.Terms, Silent: p.Silent, Sealed: p.Sealed,
		}
		if p.Voter {
			n.Role = wire.NodeRoleVoter
		}
		if p.ID == st.NodeID && s.cfg.DepositEvents != nil {
			n.DepositEvents = s.cfg.DepositEvents()
		}
		w.Nodes = append(w.Nodes, n)
	}
	return ok(w), nil
}

// livez says that the process runs; whether there is a leader does not matter.
func (s *Server) livez(*call) (answer, error) {
	return streamed(plainText, func(w io.Writer) error {
		_, err := io.WriteString(w, "ok\n")
		return err //nolint:wrapcheck // the caller wraps
	}), nil
}

// readyz has a line for each check, and 503 if one is not well.
func (s *Server) readyz(*call) (answer, error) {
	w := wire.Readiness{Ready: true, Node: s.node.Status().NodeID}
	status := http.StatusOK
	show := func(check node.Check) {
		w.Checks = append(w.Checks, struct {
			Detail string `json:"detail"`
			Name   string `json:"name"`
			Ok     bool   `json:"ok"`
		}{check.Detail, check.Name, check.OK})
	}
	for _, check := range s.node.Checks() {
		if show(check); !check.OK {
			w.Ready, status = false, http.StatusServiceUnavailable
		}
	}
	for _, note := range s.cfg.Notes() { // worth knowing, and no reason to send callers elsewhere
		show(note)
	}
	return answer{status: status, body: w}, nil
}

// home leads people to the page.
func (s *Server) home(*call) (answer, error) {
	return answer{status: http.StatusFound, header: http.Header{echo.HeaderLocation: {"/assignments"}}}, nil
}
