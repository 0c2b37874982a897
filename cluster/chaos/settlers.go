package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/cluster/chaos/history"
)

const (
	// settleGap is how often a settler comes.
	settleGap = 3 * time.Second
	// settlePatience is how long it waits for its key: it outlasts what happens to it.
	settlePatience = 3 * time.Minute
)

// settlers are pods that ask for a key each with this program's own client, open its
// secret, and keep it for good. So stakes are paid all the time.
type settlers struct {
	stage   *stage
	signing *history.Signing
	rec     *history.Recorder

	mu  sync.Mutex
	all []*settler
}

type settler struct {
	name, uid string
	got       []string // public keys whose secrets it has
}

// come lets one settler after the other come until the context ends. It returns when all
// of them were answered.
func (s *settlers) come(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	for i := 0; ; i++ {
		one := &settler{name: fmt.Sprintf("settler-%d", i), uid: uuid.NewString()}
		s.mu.Lock()
		s.all = append(s.all, one)
		s.mu.Unlock()
		asking.Go(func() { s.settle(ctx, one, i) })
		if pause(ctx, settleGap) != nil {
			return
		}
	}
}

// settle gets the key of one settler. One that has none when the context ends has none.
func (s *settlers) settle(ctx context.Context, one *settler, first int) {
	apis := s.stage.Nodes.APIs()
	first %= len(apis)
	c, err := client.New(client.Config{
		Servers: slices.Concat(apis[first:], apis[:first]), TokenFile: s.stage.Nodes.AdminToken(), UserAgent: "keysteward-chaos",
		RequestTimeout: callTime, RetryFor: -1, BackoffMin: pollTime, BackoffMax: 500 * time.Millisecond,
	})
	if err != nil {
		return
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	set, err := c.AllocateKeys(ctx, client.AllocateOptions{
		Namespace: namespace, Pod: one.name, PodUID: one.uid, Keys: 1, Hold: time.Second,
	}, nil)
	if err != nil {
		return
	}
	var got []string
	for _, k := range set.Keys {
		got = append(got, k.PublicKey.String())
		k.Secret.Zero()
	}
	s.mu.Lock()
	one.got = got
	s.mu.Unlock()
	s.signing.Begin(one.name, one.uid, got, s.rec.Now())
}

// violations compares what settlers were given with what the state says, by pod.
func (s *settlers) violations(held map[string][]string) (found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		if len(one.got) > 0 && !slices.Equal(one.got, held[one.name]) {
			found = append(found, fmt.Sprintf("%s was given %v, the state says %v", one.name, one.got, held[one.name]))
		}
	}
	return found
}

// given is how many have keys.
func (s *settlers) given() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		if len(one.got) > 0 {
			n++
		}
	}
	return n
}
