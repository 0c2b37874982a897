package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/chaos/history"
)

const namespace = "chaos"

func podPath(pod string) string { return "/v1/allocations/" + namespace + "/" + pod }

// allocate asks once for a pod's keys. The answer holds them if they were granted.
func (c *caller) allocate(ctx context.Context, node int, pod, uid string, keys int64) history.Op {
	o := history.Op{Kind: history.Allocate, Pod: pod, UID: uid, Begin: c.rec.Now()}
	r := c.send(ctx, node, http.MethodPost, "/v1/allocations", nil, wire.AllocationRequest{
		Namespace: namespace, Pod: pod, PodUID: uid, Keys: keys,
	})
	if r.outcome == history.Done && r.status == http.StatusOK {
		var a wire.Allocation
		if err := json.Unmarshal(r.body, &a); err != nil {
			r.outcome, r.why = history.Unknown, err.Error()
		} else {
			o.Held = holding(a)
		}
	}
	return c.note(o, r)
}

// release gives a pod's keys back, with an operator's word that it is stopped or without;
// fence 0 withdraws its request.
func (c *caller) release(ctx context.Context, node int, pod, uid string, fence int64, confirmed bool) history.Op {
	o := history.Op{Kind: history.Release, Pod: pod, UID: uid, Fence: fence, Confirmed: confirmed, Begin: c.rec.Now()}
	q := url.Values{"fence": {strconv.FormatInt(fence, 10)}, "podUid": {uid}}
	if confirmed {
		q.Set("confirmStopped", "true")
	}
	return c.note(o, c.send(ctx, node, http.MethodDelete, podPath(pod), q, nil))
}

// read asks what a pod holds.
func (c *caller) read(ctx context.Context, node int, pod string, kind history.Kind) history.Op {
	o := history.Op{Kind: kind, Pod: pod, Begin: c.rec.Now()}
	var q url.Values
	if kind == history.StaleRead {
		q = url.Values{"consistency": {"stale"}}
	}
	r := c.send(ctx, node, http.MethodGet, podPath(pod), q, nil)
	if r.why == history.NotFound {
		r.outcome, r.why = history.Done, ""
	} else if r.outcome == history.Done {
		var s wire.PodStatus
		if err := json.Unmarshal(r.body, &s); err != nil {
			r.outcome, r.why = history.Unknown, err.Error()
		}
		o.Held, o.Waiting = holding(s.Allocation), s.Pending.PodUID
	}
	return c.note(o, r)
}

// holding is nil for no allocation.
func holding(a wire.Allocation) *history.Holding {
	if a.ClusterID == "" {
		return nil
	}
	return &history.Holding{
		UID: a.PodUID, Fence: a.Fence, Keys: a.Keys,
		Resting: a.State == wire.AllocationStateResting, Proven: a.Proof.Kind != "",
	}
}
