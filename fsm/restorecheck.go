package fsm

import (
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// checkRestore sees to it that nothing can be handed out, signed or applied while a
// restore is open, and that its marks hold nothing back when it is not.
func (c *checker) checkRestore() {
	open := isRestoreOpen(c.meta)
	for k := range c.view.Keys(nil) {
		c.checkMark(open, k)
	}
	if !open {
		return
	}
	for r := range c.view.Requests() {
		c.failf("pod %s waits for keys while a restore is open", podName(r.GetPod()))
	}
	for a := range c.view.Allocations() {
		if a.GetState() != fsmpb.AllocationState_ALLOCATION_STATE_RESTING || a.GetLeaseUntilMs() != 0 {
			c.failf("allocation %s is %v while a restore is open, its lease runs until %d ms", podName(a.GetPod()), a.GetState(), a.GetLeaseUntilMs())
		}
	}
	for d := range c.view.Deposits(nil) {
		if isUnpaid(d) {
			c.failf("a deposit for %x is planned while a restore is open", d.GetPubkey())
		}
	}
	for cloud := range c.view.AllClouds() {
		if cloud.GetKey() != nil {
			c.failf("cloud %s/%s has a key while a restore is open", cloud.GetProject(), cloud.GetMetadata().GetName())
		}
	}
}

// checkMark looks at what a restore left of one key.
func (c *checker) checkMark(open bool, k *fsmpb.Key) {
	switch s := k.GetState(); {
	case s == fsmpb.KeyState_KEY_STATE_GENERATED, s == fsmpb.KeyState_KEY_STATE_FREE, s == fsmpb.KeyState_KEY_STATE_HELD:
		if open || k.GetRestored() {
			c.failf("key %x is %v, restored: %t, while a restore is open: %t", k.GetPubkey(), s, k.GetRestored(), open)
		}
	case s == fsmpb.KeyState_KEY_STATE_DEPOSITING:
		planned := isPlanned(c.view.Deposit(k.GetPubkey()))
		if open && !k.GetRestored() || !open && k.GetRestored() && planned {
			c.failf("key %x with a deposit on its way, restored: %t, while a restore is open: %t", k.GetPubkey(), k.GetRestored(), open)
		}
	case RestsAlone(k):
		c.checkLoneMark(open, k)
	case k.GetRestored():
		c.failf("key %x is %v and marked as restored", k.GetPubkey(), s)
	}
}

// checkLoneMark: what rests outside of an allocation was imported, or a restore marked
// it; and the latter has the operator's word once the restore is confirmed, not before.
func (c *checker) checkLoneMark(open bool, k *fsmpb.Key) {
	if !k.GetRestored() && !PaidElsewhere(k) || k.GetRestored() && open == (k.GetProof() != nil) {
		c.failf("key %x rests in no allocation, restored: %t, by the proof %v, while a restore is open: %t", k.GetPubkey(), k.GetRestored(), k.GetProof(), open)
	}
}
