package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/audit"
)

const pathAudit = "/v1/audit"

// AuditFilter says which audit records are wanted; an empty field wants all.
type AuditFilter struct {
	// Action, or with a dot at its end the beginning of actions.
	Action string
	// Caller is a caller's name.
	Caller string
	// Object such as default/validator-0, or a public key.
	Object string
}

// AuditPage returns the audit records from a sequence number on that fit.
func (c *Client) AuditPage(ctx context.Context, f AuditFilter, from int64) (wire.AuditPage, error) {
	query := url.Values{}
	for name, value := range map[string]string{"action": f.Action, "caller": f.Caller, "object": f.Object} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if from > 0 {
		query.Set("from", strconv.FormatInt(from, 10))
	}
	page, err := get[wire.AuditPage](ctx, c, call{method: http.MethodGet, path: pathAudit, query: query})
	if err != nil {
		return page, fmt.Errorf("audit records: %w", err)
	}
	if page.NextFrom != 0 && (page.NextFrom <= from || len(page.Records) == 0) {
		return page, fmt.Errorf("audit records: %w: its pages go in a circle", ErrAnswer)
	}
	return page, nil
}

// AuditRecord is a record of the API as the package that verifies it has it. The
// error wraps [ErrAnswer] if it is no record.
func AuditRecord(w wire.AuditRecord) (audit.Record, error) {
	hash, err := audit.ParseHash(w.Hash)
	if err != nil || w.Seq < 1 || w.Index < 0 || w.Term < 0 || w.Version < 0 || w.Version > 1<<31 {
		return audit.Record{}, fmt.Errorf("%w: audit record %d has a wrong number or hash", ErrAnswer, w.Seq)
	}
	return audit.Record{
		Seq: uint64(w.Seq), Index: uint64(w.Index), Term: uint64(w.Term), Version: uint32(w.Version), WallMs: w.WallMs,
		Caller: w.Caller, RequestID: w.RequestID, Action: w.Action, Object: w.Object, Outcome: w.Outcome,
		Detail: w.Detail, Hash: hash,
	}, nil
}

// AuditHead is a place of the chain as the package that verifies it has it.
func AuditHead(w wire.AuditHead) (audit.Head, error) {
	hash, err := audit.ParseHash(w.Hash)
	if err != nil || w.Seq < 0 {
		return audit.Head{}, fmt.Errorf("%w: the place %d of the audit log has a wrong number or hash", ErrAnswer, w.Seq)
	}
	return audit.Head{Seq: uint64(w.Seq), Hash: hash}, nil
}
