package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/chaos/history"
)

// callTime bounds one try: a paused node does not answer. Most tries are given up earlier,
// so that clients do not all wait for it.
const (
	callTime  = 3 * time.Second
	shortTime = 700 * time.Millisecond
	longEach  = 4 // every fourth waits for callTime
)

// caller sends single requests, without the patience of this program's client: each of
// its tries is an operation of its own. It is used by one goroutine.
type caller struct {
	id    int
	apis  []string
	pids  func(i int) int
	token string
	http  *http.Client
	rec   *history.Recorder
	seen  *seen
	calls int
}

// seen is what callers noticed beside their own business.
type seen struct {
	leader   atomic.Int32 // who answered the last change, from 0
	internal atomic.Int64 // answers with status 500
	changes  atomic.Int64 // that were made
}

func newTransport() *http.Transport {
	return &http.Transport{DialContext: (&net.Dialer{Timeout: time.Second}).DialContext, MaxIdleConnsPerHost: 4}
}

// reply is what became of a try.
type reply struct {
	outcome history.Outcome
	why     string
	status  int
	header  http.Header
	body    []byte
	node    int // that answered
	pid     int // of its process; 0 if that ended meanwhile
}

// send sends a request to a node and follows one redirect.
func (c *caller) send(ctx context.Context, node int, method, path string, query url.Values, body any) reply {
	var encoded []byte
	if body != nil {
		encoded, _ = json.Marshal(body) //nolint:errchkjson // types of the API
	}
	target := c.apis[node] + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	limit := shortTime
	if c.calls++; c.calls%longEach == 0 {
		limit = callTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r := c.try(ctx, node, method, target, encoded)
	if r.status == http.StatusTemporaryRedirect {
		if to := r.header.Get("Location"); c.nodeAt(to) >= 0 {
			r = c.try(ctx, c.nodeAt(to), method, to, encoded)
		}
	}
	if r.outcome == history.Done && method != http.MethodGet {
		c.seen.leader.Store(int32(r.node)) //nolint:gosec // a handful
		c.seen.changes.Add(1)
	}
	return r
}

// nodeAt is the node with this URL, -1 if it is none.
func (c *caller) nodeAt(to string) int {
	for i, api := range c.apis {
		if strings.HasPrefix(to, api+"/") {
			return i
		}
	}
	return -1
}

func (c *caller) try(ctx context.Context, node int, method, target string, body []byte) reply {
	r := reply{node: node, pid: c.pids(node), outcome: history.Unknown}
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		r.outcome, r.why = history.Refused, err.Error()
		return r
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Accept", "application/json")
	if len(body) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		r.why = err.Error()
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
			r.outcome = history.Refused // it was never sent
		}
		return r
	}
	defer response.Body.Close()
	r.status, r.header = response.StatusCode, response.Header
	if r.body, err = io.ReadAll(response.Body); err != nil {
		r.why = err.Error()
		return r
	}
	if c.pids(node) != r.pid {
		r.pid = 0
	}
	r.outcome, r.why = c.judge(r)
	return r
}

// judge says what an answer means for the request.
func (c *caller) judge(r reply) (history.Outcome, string) {
	if r.status >= http.StatusOK && r.status < http.StatusMultipleChoices {
		return history.Done, ""
	}
	var p wire.Problem
	if json.Unmarshal(r.body, &p) != nil || p.Type == "" {
		return history.Unknown, "status " + strconv.Itoa(r.status)
	}
	switch p.Type {
	case "outcome-unknown":
		return history.Unknown, p.Type
	case "internal":
		c.seen.internal.Add(1)
		return history.Unknown, p.Type + ", request " + p.RequestID
	}
	return history.Refused, p.Type
}

// note records an operation that was done by a try.
func (c *caller) note(o history.Op, r reply) history.Op {
	o.Client, o.Outcome, o.Why, o.Node, o.PID, o.End = c.id, r.outcome, r.why, r.node, r.pid, c.rec.Now()
	o.Index, _ = strconv.ParseUint(r.header.Get("X-Keysteward-Applied-Index"), 10, 64) // 0 for a change
	c.rec.Note(o)
	return o
}

// newClient follows no redirect by itself.
func newClient() *http.Client {
	return &http.Client{
		Transport:     newTransport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
