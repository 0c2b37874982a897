package fsm

import (
	"fmt"
	"reflect"
)

// Changes is a set of places in the state that somebody waits on.
type Changes struct {
	chans []<-chan struct{}
}

// WatchPod returns what changes when the allocation or the request of a pod name does.
func (v *View) WatchPod(namespace, name string) Changes {
	c := Changes{chans: []<-chan struct{}{v.from.replaced}}
	for _, table := range []string{tableAllocations, tableRequests} {
		ch, err := v.txn.WatchRow(table, podKey(namespace, name))
		if err != nil {
			panic(fmt.Sprintf("watch %s: %v", table, err))
		}
		c.chans = append(c.chans, ch)
	}
	return c
}

// WatchWaiting returns what changes when a pod that waits for keys may learn
// something: its allocation or request, why deposits wait, the seed.
func (v *View) WatchWaiting(namespace, name string) Changes {
	c := v.watch(tableStatus, tableSecrets)
	c.chans = append(c.chans, v.WatchPod(namespace, name).chans...)
	return c
}

// WatchWork returns what changes when a leader's deposit duty may have
// something new to do: requests, deposits, the seed.
func (v *View) WatchWork() Changes { return v.watch(tableRequests, tableDeposits, tableSecrets) }

// WatchHolders returns what changes when who holds keys, rests from them or waits for them does.
func (v *View) WatchHolders() Changes { return v.watch(tableAllocations, tableRequests) }

// WatchSecrets returns what changes when the keyring or the seed does.
func (v *View) WatchSecrets() Changes { return v.watch(tableSecrets) }

// WatchMembers returns what changes when the membership does.
func (v *View) WatchMembers() Changes { return v.watch(tableMembers) }

// WatchReplaced returns what changes when the whole state is replaced: by a restored
// backup, or by a snapshot of another member.
func (v *View) WatchReplaced() Changes { return Changes{chans: []<-chan struct{}{v.from.replaced}} }

func (v *View) watch(tables ...string) Changes {
	c := Changes{chans: []<-chan struct{}{v.from.replaced}}
	for _, table := range tables {
		ch, err := v.txn.Watch(table)
		if err != nil {
			panic(fmt.Sprintf("watch %s: %v", table, err))
		}
		c.chans = append(c.chans, ch)
	}
	return c
}

// Wait blocks until one of the places changed, which may be before the call,
// or until done is closed; it reports whether something changed.
func (c Changes) Wait(done <-chan struct{}) bool {
	cases := make([]reflect.SelectCase, 0, len(c.chans)+1)
	for _, ch := range append(c.chans[:len(c.chans):len(c.chans)], done) {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ch)})
	}
	chosen, _, _ := reflect.Select(cases)
	return chosen < len(c.chans)
}
