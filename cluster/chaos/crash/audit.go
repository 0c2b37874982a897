package main

import (
	"fmt"
	"slices"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/chaos/answers"
)

// audit compares what a node answers with what pods were given, when nothing is under
// way any more.
type audit struct {
	said  answers.Testimony
	pods  []*pod
	found []string
}

// holdings returns, in words, everything that is not as it must be about who has keys.
func holdings(said answers.Testimony, pods []*pod) []string {
	a := &audit{said: said, pods: pods}
	a.auditPods()
	a.auditKeys()
	return a.found
}

func (a *audit) note(format string, args ...any) {
	a.found = append(a.found, fmt.Sprintf(format, args...))
}

// auditPods: each pod was given what it asked for, and the state says the same.
func (a *audit) auditPods() {
	held := map[string][]string{}
	for _, allocation := range a.said.Allocations {
		held[allocation.Pod] = allocation.Keys
	}
	for _, p := range a.pods {
		var got []string
		for _, key := range p.got {
			got = append(got, key.String())
		}
		switch {
		case p.err != nil:
			a.note("%s asked for %d keys and has none: %v", p.name, p.keys, p.err)
		case int64(len(got)) != p.keys:
			a.note("%s asked for %d keys and got %d", p.name, p.keys, len(got))
		case !slices.Equal(got, held[p.name]):
			a.note("%s got %v, the state says %v", p.name, got, held[p.name])
		}
	}
}

// auditKeys: no key has two holders, and there are none that nobody asked for.
func (a *audit) auditKeys() {
	holder := map[string]string{}
	for _, allocation := range a.said.Allocations {
		for _, key := range allocation.Keys {
			if other, twice := holder[key]; twice {
				a.note("%s is held by %s and by %s", key, other, allocation.Pod)
			}
			holder[key] = allocation.Pod
		}
	}
	asked := 0
	for _, p := range a.pods {
		asked += int(p.keys)
	}
	if len(a.said.Keys) != asked || len(a.said.Deposits) != asked {
		a.note("pods asked for %d keys; there are %d, and %d deposits", asked, len(a.said.Keys), len(a.said.Deposits))
	}
	for _, k := range a.said.Keys {
		if k.State != wire.KeyStateHeld || holder[k.Pubkey] == "" {
			a.note("%s is %s, held by %q", k.Pubkey, k.State, holder[k.Pubkey])
		}
	}
}
