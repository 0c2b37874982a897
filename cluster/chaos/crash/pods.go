package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

const (
	// answerTime is how long a pod may wait for its keys, the fault included.
	answerTime = 120 * time.Second
	// requestTime bounds one try at one node: a paused one does not answer.
	requestTime = 2 * time.Second
	namespace   = "chaos"
)

// pod is a pod that asks for keys, as an init container would, until it has them.
type pod struct {
	name, uid string
	keys      int64

	got []validator.PublicKey // what it was given, with the secrets to them
	err error                 // why it was given nothing
}

// asking are the pods that wait for their keys.
type asking struct {
	stage   *stage
	waiting sync.WaitGroup
	done    chan struct{}
	pods    []*pod
}

// ask lets pods ask for so many keys each, the first of them first at one node, the
// second at the next.
func (a *asking) ask(ctx context.Context, t trial, keys []int64) {
	for _, n := range keys {
		at := len(a.stage.pods)
		p := &pod{name: fmt.Sprintf("%s-%s-%d", t.fault, t.point, at), uid: uuid.NewString(), keys: n}
		a.stage.pods, a.pods = append(a.stage.pods, p), append(a.pods, p)
		a.waiting.Go(func() { p.got, p.err = a.stage.allocate(ctx, p, at) })
	}
}

// all returns a channel that closes when every pod that was let ask has ended.
func (a *asking) all() <-chan struct{} {
	if a.done == nil {
		a.done = make(chan struct{})
		go func() {
			defer close(a.done)
			a.waiting.Wait()
		}()
	}
	return a.done
}

// allocate asks for the pod's keys with this program's own client, which knows all
// nodes and begins with one of them.
func (s *stage) allocate(ctx context.Context, p *pod, first int) ([]validator.PublicKey, error) {
	apis := s.nodes.APIs()
	first %= len(apis)
	c, err := client.New(client.Config{
		Servers: slices.Concat(apis[first:], apis[:first]), TokenFile: s.nodes.AdminToken(), UserAgent: "keysteward-chaos",
		RequestTimeout: requestTime, BackoffMin: 20 * time.Millisecond, BackoffMax: 200 * time.Millisecond,
	})
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	defer c.Close()
	set, err := c.AllocateKeys(ctx, client.AllocateOptions{
		Namespace: namespace, Pod: p.name, PodUID: p.uid, Keys: p.keys, Hold: time.Second,
	}, nil)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is
	}
	var got []validator.PublicKey
	for _, k := range set.Keys {
		got = append(got, k.PublicKey)
		k.Secret.Zero()
	}
	return got, nil
}
