package ethereum

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// front stands before the execution client. Its hooks see the methods of every
// request before it is forwarded and after it was answered; false loses it.
type front struct {
	URL    string
	mu     sync.Mutex
	before func(methods []string) bool
	after  func(methods []string) bool
	refuse func(call rpcCall) bool
	change func(call rpcCall, result json.RawMessage) json.RawMessage
}

// rpcCall is one call of a request.
type rpcCall struct {
	ID     json.RawMessage   `json:"id"`
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
}

func newFront(t *testing.T, socket string) *front {
	t.Helper()
	f := &front{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		methods := methodsOf(body)
		if before, _ := f.hooks(); before != nil && !before(methods) {
			panic(http.ErrAbortHandler)
		}
		answer, err := f.forward(socket, body)
		if _, after := f.hooks(); err != nil || after != nil && !after(methods) {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	t.Cleanup(server.Close)
	f.URL = server.URL
	return f
}

func (f *front) hooks() (before, after func([]string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.before, f.after
}

// hook replaces the hooks; nil lets everything through.
func (f *front) hook(before, after func(methods []string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

// refusing has the client answer these calls with an error; nil refuses none.
func (f *front) refusing(refuse func(call rpcCall) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

// changing puts other results in the place of the client's; nil changes none.
func (f *front) changing(change func(call rpcCall, result json.RawMessage) json.RawMessage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.change = change
}

// forward passes a batch on, but for what is refused and changed.
func (f *front) forward(socket string, body []byte) (json.RawMessage, error) {
	f.mu.Lock()
	refuse, change := f.refuse, f.change
	f.mu.Unlock()
	var batch []map[string]json.RawMessage
	var calls []rpcCall
	if refuse == nil && change == nil || json.Unmarshal(body, &batch) != nil || json.Unmarshal(body, &calls) != nil {
		return forward(socket, body)
	}
	byID := make(map[string]rpcCall)
	for i, call := range calls {
		byID[string(call.ID)] = call
		if refuse != nil && refuse(call) {
			batch[i]["method"] = json.RawMessage(`"test_refused"`)
		}
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return nil, err
	}
	answer, err := forward(socket, body)
	var results []map[string]json.RawMessage
	if err != nil || change == nil || json.Unmarshal(answer, &results) != nil {
		return answer, err
	}
	for _, r := range results {
		if r["result"] != nil {
			r["result"] = change(byID[string(r["id"])], r["result"])
		}
	}
	return json.Marshal(results)
}

func methodsOf(body []byte) []string {
	type message struct{ Method string }
	var batch []message
	if json.Unmarshal(body, &batch) != nil {
		var single message
		_ = json.Unmarshal(body, &single)
		batch = []message{single}
	}
	methods := make([]string, len(batch))
	for i, m := range batch {
		methods[i] = m.Method
	}
	return slices.Compact(methods)
}

// forward speaks to the client over its socket: one JSON value there, one back.
func forward(socket string, body []byte) (json.RawMessage, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.Write(bytes.TrimSpace(body)); err != nil {
		return nil, err
	}
	var answer json.RawMessage
	err = json.NewDecoder(conn).Decode(&answer)
	return answer, err
}
