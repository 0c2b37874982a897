package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/keysteward/keysteward/api/wire"
)

// Types of problems that callers tell apart; openapi.yaml lists them all.
const (
	TypeNotFound       = "not-found"
	TypeStaleFence     = "stale-fence"
	TypeStaleStop      = "stale-stop"
	TypeSeedExists     = "seed-exists"
	TypeStaleRecipient = "stale-recipient"
	TypePoolShort      = "pool-short"
	TypeNotTheHolder   = "not-the-holder"
	TypeLeasesOff      = "leases-off"
	TypeNoWatermarks   = "no-watermarks"
	TypeOutcomeUnknown = "outcome-unknown"

	// TypeExists: there is an object of this name.
	TypeExists = "exists"
	// TypeInUse: something else rests on the object.
	TypeInUse = "in-use"
	// TypeWrongState: the logical cloud is in a state from which this can not be done.
	TypeWrongState = "wrong-state"
	// TypeIncomplete: the logical cloud lacks what it needs to be instantiated.
	TypeIncomplete = "incomplete"
	// TypeCertificateRefused: Kubernetes denied the certificate, or its signer failed.
	TypeCertificateRefused = "certificate-refused"
)

var (
	// ErrUnavailable is wrapped when time ran out and no server had given an answer.
	ErrUnavailable = errors.New("no server could answer")
	// ErrOutcomeUnknown is wrapped when a change may or may not have happened.
	// Repeating the call is safe, but for [Client.RestoreBackup].
	ErrOutcomeUnknown = errors.New("the outcome is unknown")
	// ErrRedirect is wrapped when a server redirects to what is no member, or from
	// https to http. Nothing was sent there.
	ErrRedirect = errors.New("redirect refused")
	// ErrAnswer is wrapped when an answer is not one to what was asked, or not in
	// agreement with itself. Nothing in it is used.
	ErrAnswer = errors.New("the server's answer cannot be trusted")
)

// Problem is an error answer (RFC 9457); errors.As finds it.
type Problem wire.Problem

// Error gives status, type, detail and the request ID by which the server's log
// names the request.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Detail)
	if p.Detail == "" {
		b.WriteString(p.Title)
	}
	fmt.Fprintf(&b, " (%d %s", p.Status, p.Type)
	if p.Field != "" {
		b.WriteString(", field " + p.Field)
	}
	if p.RequestID != "" {
		b.WriteString(", request " + p.RequestID)
	}
	b.WriteString(")")
	return b.String()
}

// IsType tells whether an error is a Problem of this type.
func IsType(err error, problemType string) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Type == problemType
}

// decodeProblem makes a Problem of any answer; one that is no problem document
// gets the type about:blank, as RFC 9457 has it.
func decodeProblem(r reply) *Problem {
	var p Problem
	if err := json.Unmarshal(r.body, &p); err != nil || p.Type == "" {
		p = Problem{Type: "about:blank", Title: http.StatusText(r.status), Detail: "a server answered without saying why"}
	}
	p.Status = r.status
	if p.RequestID == "" {
		p.RequestID = r.header.Get("X-Request-Id")
	}
	return &p
}
