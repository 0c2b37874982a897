// Package answers asks each node of a cluster for what it knows itself.
package answers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
)

// Testimony is what one node answers of its own state, without asking the leader.
type Testimony struct {
	Keys        []wire.Key
	Deposits    []wire.Deposit
	Accounts    []wire.FundingAccount
	Allocations []wire.Allocation
}

var errStatus = errors.New("unexpected status")

// direct follows no redirect: each node is to answer for itself.
var direct = &http.Client{
	Timeout:       5 * time.Second,
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Asker names the file with the bearer token that it asks with.
type Asker string

// Ask gets JSON from one node, and follows no redirect.
func (a Asker) Ask(ctx context.Context, api, path string, query url.Values, into any) error {
	return a.send(ctx, http.MethodGet, api, path+"?"+query.Encode(), nil, into)
}

// Post has one node do something, and follows no redirect.
func (a Asker) Post(ctx context.Context, api, path string, body, into any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("ask %s: %w", api, err)
	}
	return a.send(ctx, http.MethodPost, api, path, encoded, into)
}

// Delete has one node delete something, and follows no redirect.
func (a Asker) Delete(ctx context.Context, api, path string, query url.Values) error {
	return a.send(ctx, http.MethodDelete, api, path+"?"+query.Encode(), nil, nil)
}

func (a Asker) send(ctx context.Context, method, api, path string, body []byte, into any) error {
	token, err := os.ReadFile(string(a))
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, api+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask %s: %w", api, err)
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	if len(body) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := direct.Do(request)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode < 200 || response.StatusCode > 299) {
		err = fmt.Errorf("%w %s: %s", errStatus, response.Status, raw)
	}
	if err == nil && len(raw) > 0 {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return fmt.Errorf("ask %s%s: %w", api, path, err)
	}
	return nil
}

// question is a query that a node answers from the state that it has.
func question(cursor string) url.Values {
	q := url.Values{"consistency": {"stale"}}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	return q
}

// Hear asks a node for everything that it knows of keys and deposits.
func (a Asker) Hear(ctx context.Context, api string) (Testimony, error) {
	var said Testimony
	for cursor, more := "", true; more; more = cursor != "" {
		var page wire.KeyPage
		if err := a.Ask(ctx, api, "/v1/keys", question(cursor), &page); err != nil {
			return said, err
		}
		said.Keys, cursor = append(said.Keys, page.Keys...), page.NextCursor
	}
	for cursor, more := "", true; more; more = cursor != "" {
		var page wire.DepositPage
		if err := a.Ask(ctx, api, "/v1/deposits", question(cursor), &page); err != nil {
			return said, err
		}
		said.Deposits, cursor = append(said.Deposits, page.Deposits...), page.NextCursor
		said.Accounts = page.Accounts
	}
	var assignments wire.Assignments
	if err := a.Ask(ctx, api, "/assignments", question(""), &assignments); err != nil {
		return said, err
	}
	said.Allocations = assignments.Assignments
	return said, nil
}

// Applied asks a node for the index of the last log entry that it applied.
func (a Asker) Applied(ctx context.Context, api string) (uint64, error) {
	var assignments wire.Assignments
	if err := a.Ask(ctx, api, "/assignments", question(""), &assignments); err != nil {
		return 0, err
	}
	return uint64(assignments.AppliedIndex), nil //nolint:gosec // never negative
}
