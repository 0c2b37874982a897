package api

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

var (
	//go:embed assignments.html
	assignmentsHTML string
	//go:embed assignments.css
	assignmentsCSS string

	assignmentsPage = template.Must(template.New("assignments").Parse(assignmentsHTML))
)

// assignments shows which pod holds which public key, as the caller accepts it.
func (s *Server) assignments(c *call) (answer, error) {
	a := streamed(plainText, c.reading.writeLines)
	switch contentType := preferred(c.echo.Request().Header.Get("Accept")); contentType {
	case jsonText:
		a = streamed(contentType, c.reading.writeJSON)
	case htmlText:
		a = streamed(contentType, c.reading.writePage)
	}
	a.header = http.Header{"Vary": {"Accept"}, "Cache-Control": {"no-cache"}}
	if a.contentType == htmlText {
		a.header.Set("Content-Security-Policy", pagePolicy())
		a.header.Set("Referrer-Policy", "no-referrer")
	}
	return a, nil
}

// pagePolicy lets the page have its own style and nothing else.
func pagePolicy() string {
	hash := sha256.Sum256([]byte(assignmentsCSS))
	return "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-" +
		base64.StdEncoding.EncodeToString(hash[:]) + "'"
}

// writeLines writes a line for each key that is held. The pods of the namespace
// "default" are named by their name alone, all others with their namespace: a
// name has no slash, and a pod's line does not depend on which others there are.
func (r reading) writeLines(w io.Writer) error {
	for a := range r.allocations() {
		if a.GetState() != fsmpb.AllocationState_ALLOCATION_STATE_HELD {
			continue
		}
		name := a.GetPod().GetName()
		if namespace := a.GetPod().GetNamespace(); namespace != "default" {
			name = namespace + "/" + name
		}
		for _, pubkey := range a.GetKeys() {
			if _, err := fmt.Fprintf(w, "%s=0x%x\n", name, pubkey); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
	}
	return nil
}

// pageData is what the page shows. The rows are made while they are written.
type pageData struct {
	Style        template.HTML
	ClusterID    string
	AppliedIndex uint64
	Age          string
	Keys         map[string]int64
	Deposits     map[string]int64
	Waiting      *wire.Reason
	Rows         iter.Seq[pageRow]
	Requests     iter.Seq[wire.PendingAllocation]
	AnyRequests  bool
}

// pageRow is one key of one pod.
type pageRow struct {
	Namespace, Pod, UID, State, Rests, Pubkey string
	Since                                     string
}

func (r reading) writePage(w io.Writer) error {
	m := r.view.Meta()
	data := pageData{
		Style:     template.HTML("<style>" + assignmentsCSS + "</style>"), //nolint:gosec // our own file
		ClusterID: m.GetClusterId(), AppliedIndex: m.GetAppliedIndex(), Age: r.age(),
		Keys: r.keyCounts(), Deposits: r.depositCounts(),
		Rows: r.rows(), Requests: r.pending(),
	}
	if reason := waitingOf(r.view.DepositStatus()); reason.Code != "" {
		data.Waiting = &reason
	}
	for range r.requests() {
		data.AnyRequests = true
		break
	}
	if err := assignmentsPage.Execute(w, data); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

func (r reading) age() string {
	if r.ageMs < 0 {
		return "of unknown age: this node has not heard from a leader"
	}
	return (time.Duration(r.ageMs) * time.Millisecond).String() + " old"
}

func (r reading) rows() iter.Seq[pageRow] {
	m := r.view.Meta()
	return func(yield func(pageRow) bool) {
		for a := range r.allocations() {
			row := pageRow{
				Namespace: a.GetPod().GetNamespace(), Pod: a.GetPod().GetName(), UID: a.GetPod().GetUid(),
				State: "held", Since: strings.TrimSuffix(wallTime(a.GetSinceWallMs()).Format("2006-01-02 15:04:05Z"), "Z"),
			}
			if a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_RESTING {
				row.State, row.Rests = "resting", "until "+restsUntil(m, a)
			} else if a.GetCode() != "" {
				row.Rests = a.GetCode() + ": " + a.GetDetail()
			}
			for _, pubkey := range a.GetKeys() {
				row.Pubkey = hexText(pubkey)
				if !yield(row) {
					return
				}
			}
		}
	}
}

func (r reading) pending() iter.Seq[wire.PendingAllocation] {
	return func(yield func(wire.PendingAllocation) bool) {
		for q := range r.requests() {
			if !yield(pendingOf(r.view, q)) {
				return
			}
		}
	}
}
