package fsm

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// outside is what no restore takes back: the chain, signed bytes, running validators,
// and numbers that were given. It is the naive account of all histories together.
type outside struct {
	t       *rapid.T
	r       *replica
	bytes   map[string][2]uint64       // every transaction that was ever signed: hash → key's index, nonce
	gone    map[string]bool            // those that no mempool shows at present
	chain   []string                   // hashes by nonce, from the account's first one; "" is somebody else's
	runs    map[string]map[string]bool // pod with UID → public keys that it signs with
	made    map[uint64]bool            // indexes of which keys were generated
	fences  map[uint64]bool            // fences at which something was granted
	backups [][]byte
	staged  int
}

const firstNonce = 5

// TestNothingTwiceInAnyHistory restores earlier backups, any number of times, into a
// cluster that goes on meanwhile. The world outside remembers everything: no key is
// ever with two validators, none is paid for twice, and no number is given twice.
func TestNothingTwiceInAnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := &outside{
			t: t, r: newReplica(t), bytes: map[string][2]uint64{}, gone: map[string]bool{},
			runs: map[string]map[string]bool{}, made: map[uint64]bool{}, fences: map[uint64]bool{},
		}
		steps := []func(){
			o.ask, o.ask, o.ask, o.generate, o.generate, o.sign, o.sign, o.mine, o.mine, o.mine, o.observe, o.observe,
			o.release, o.stop, o.backup, o.restore, o.search, o.settle, o.confirm, o.confirm, o.forget, o.stranger, o.resume,
			o.confirmStopped, o.spares, o.tick, o.replace, o.restart,
		}
		o.r.twin = New()
		require.NoError(t, o.r.twin.Restore(bytes.NewReader(snapshot(t, o.view()))))
		o.backup()
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			rapid.SampledFrom(steps).Draw(t, "step")()
			o.check()
		}
	})
}

func (o *outside) view() *View { return o.r.View() }

// try proposes a command that may be refused.
func (o *outside) try(body proto.Message) Result {
	fence := o.view().Meta().GetFence()
	res := o.r.do(body)
	o.granted(fence)
	require.NoError(o.t, o.view().Check(), "after %v: %v", body, res.Err())
	return res
}

// check is what must be so in all histories together.
func (o *outside) check() {
	by := map[string]string{}
	for _, pod := range slices.Sorted(maps.Keys(o.runs)) {
		for pubkey := range o.runs[pod] {
			require.Empty(o.t, by[pubkey], "key %x signs in %s too", pubkey, pod)
			by[pubkey] = pod
		}
	}
	stakes := map[uint64]bool{}
	for _, hash := range o.chain {
		if hash == "" {
			continue
		}
		index := o.bytes[hash][0]
		require.False(o.t, stakes[index], "two stakes for the key of index %d", index)
		stakes[index] = true
	}
}

func (o *outside) ask() {
	p := drawPod(o.t)
	a, _ := o.try(&fsmpb.Allocate{Pod: p, Keys: rapid.Uint32Range(1, 3).Draw(o.t, "keys")}).Value.(Allocated)
	if a.Allocation.GetPod().GetUid() == p.GetUid() && a.Request == nil && a.Allocation != nil {
		o.run(a.Allocation)
	}
}

// run begins, or goes on with, the validator of a pod that was given its keys.
func (o *outside) run(a *fsmpb.Allocation) {
	name := podName(a.GetPod()) + "#" + a.GetPod().GetUid()
	if o.runs[name] == nil {
		o.runs[name] = map[string]bool{}
	}
	for _, k := range a.GetKeys() {
		o.runs[name][string(k)] = true
	}
}

// granted looks at the allocations that changed: their fences are new in any history.
func (o *outside) granted(before uint64) {
	for a := range o.view().Allocations() {
		if f := a.GetFence(); f > before {
			require.False(o.t, o.fences[f], "fence %d was given before", f)
			o.fences[f] = true
		}
	}
}

func (o *outside) generate() {
	next, n := o.view().Meta().GetNextIndex(), uint64(o.view().Shortfall()+o.view().SpareShortfall())
	if o.try(&fsmpb.GenerateKeys{FirstIndex: next, Pubkeys: pubkeys(next, n)}).Refusal != nil {
		return
	}
	for i := next; i < next+n; i++ {
		require.False(o.t, o.made[i], "index %d was used before", i)
		o.made[i] = true
	}
}

func (o *outside) account() *fsmpb.Account {
	a := testAccount(1)
	return o.view().Account(a.GetChainId(), a.GetAddress())
}

// hash names a transaction; fee tells replacements apart.
func (o *outside) hash(index, nonce, fee uint64) []byte {
	return sumOf(fmt.Appendf(nil, "%d %d %d", index, nonce, fee))
}

func (o *outside) sign() {
	a := o.account()
	c := &fsmpb.SignDeposits{ChainId: a.GetChainId(), Account: a.GetAddress()}
	var made [][2]uint64
	for d := range o.view().ToSign() {
		k, nonce := o.view().Key(d.GetPubkey()), a.GetNextNonce()+uint64(len(made))
		s := signed(nonce, d.GetPubkey())
		s.Attempt.TxHash = o.hash(k.GetIndex(), nonce, 2)
		for _, hash := range o.chain { // the leader looks for a DepositEvent first
			if hash != "" && o.bytes[hash][0] == k.GetIndex() {
				s = nil
			}
		}
		if s != nil {
			c.Deposits, made = append(c.Deposits, s), append(made, [2]uint64{k.GetIndex(), nonce})
		}
	}
	if o.try(c).Refusal == nil {
		for i, m := range made {
			o.bytes[string(c.GetDeposits()[i].GetAttempt().GetTxHash())] = m
		}
	}
}

// replace signs for higher fees, at the nonce that a deposit has.
func (o *outside) replace() {
	for d := range o.view().Deposits(nil) {
		if !isPending(d) || len(d.GetAttempts()) > 1 {
			continue
		}
		at, index := d.GetAttempts()[0], o.view().Key(d.GetPubkey()).GetIndex()
		next := dearer(at)
		next.TxHash = o.hash(index, at.GetNonce(), next.GetFeeCapWei())
		if o.try(&fsmpb.ReplaceDeposit{Pubkey: d.GetPubkey(), Attempt: next}).Refusal == nil {
			o.bytes[string(next.GetTxHash())] = [2]uint64{index, at.GetNonce()}
		}
	}
}

func (o *outside) nextNonce() uint64 { return firstNonce + uint64(len(o.chain)) }

// pending lists the transactions that may still land, by hash.
func (o *outside) pending(shown bool) []string {
	var list []string
	for _, hash := range slices.Sorted(maps.Keys(o.bytes)) {
		if o.bytes[hash][1] >= o.nextNonce() && (!shown || !o.gone[hash]) {
			list = append(list, hash)
		}
	}
	return list
}

// mine lands a transaction with the chain's next nonce: any that was ever signed.
func (o *outside) mine() {
	var fit []string
	for _, hash := range o.pending(false) {
		if o.bytes[hash][1] == o.nextNonce() {
			fit = append(fit, hash)
		}
	}
	if len(fit) > 0 {
		o.chain = append(o.chain, rapid.SampledFrom(fit).Draw(o.t, "lands"))
	}
}

// stranger uses the account.
func (o *outside) stranger() {
	if oneIn(o.t, 3, "stranger") {
		o.chain = append(o.chain, "")
	}
}

// forget drops a transaction from all mempools, or brings it back.
func (o *outside) forget() {
	if list := o.pending(false); len(list) > 0 {
		hash := rapid.SampledFrom(list).Draw(o.t, "forgotten")
		o.gone[hash] = !o.gone[hash]
	}
}

// observe reports all that is so on the chain; everything there is final.
func (o *outside) observe() {
	for _, kind := range []fsmpb.Observation_Kind{sent, mined, final} {
		c := &fsmpb.ObserveDeposits{}
		for d := range o.view().Deposits(nil) {
			if len(d.GetAttempts()) == 0 || d.GetState() == fsmpb.DepositState_DEPOSIT_STATE_FINAL {
				continue
			}
			at := d.GetAttempts()[0]
			ob := &fsmpb.Observation{Pubkey: d.GetPubkey(), Kind: kind, TxHash: at.GetTxHash(), BlockNumber: 1, BlockHash: hash32(1), Reason: "r"}
			switch used := at.GetNonce() < o.nextNonce(); {
			case used && logged(d, []byte(o.chain[at.GetNonce()-firstNonce])):
				ob.TxHash = []byte(o.chain[at.GetNonce()-firstNonce])
			case used && kind == sent:
				ob.Kind, ob.ForeignTransaction = lost, true
			case kind != sent:
				continue
			}
			c.Observations = append(c.Observations, ob)
		}
		o.try(c)
	}
}

// resume lets deposits go on after somebody else's transactions, all of them.
func (o *outside) resume() {
	a := o.account()
	o.try(&fsmpb.ResumeDeposits{ChainId: a.GetChainId(), Account: a.GetAddress(), Nonce: a.GetStop().GetNonce()})
	if a = o.account(); a.GetNextNonce() < o.nextNonce() {
		o.try(&fsmpb.StopAccount{ChainId: a.GetChainId(), Account: a.GetAddress(), Stop: &fsmpb.Stop{Reason: "r", Nonce: o.nextNonce()}})
		o.try(&fsmpb.ResumeDeposits{ChainId: a.GetChainId(), Account: a.GetAddress(), Nonce: o.nextNonce()})
		o.try(&fsmpb.AdvanceNonce{ChainId: a.GetChainId(), Account: a.GetAddress(), From: a.GetNextNonce(), To: o.nextNonce()})
	}
}

// release is a pod's goodbye, which proves nothing: its validator may go on.
func (o *outside) release() {
	p := drawPod(o.t)
	o.try(&fsmpb.Release{Namespace: "ns", Pod: p.GetName(), Fence: o.view().Allocation("ns", p.GetName()).GetFence()})
}

// stop is an operator who stops the validator of the pod that is known, and says so.
func (o *outside) stop() {
	p := drawPod(o.t)
	a := o.view().Allocation("ns", p.GetName())
	if a != nil {
		delete(o.runs, podName(p)+"#"+a.GetPod().GetUid())
	}
	wait := rapid.SampledFrom([]uint64{0, 100}).Draw(o.t, "wait")
	o.try(&fsmpb.Release{Namespace: "ns", Pod: p.GetName(), Fence: a.GetFence(), Proof: proof(), WaitMs: wait})
}

func (o *outside) tick() { o.try(&fsmpb.Tick{ElapsedMs: 100}) }

func (o *outside) spares() {
	o.try(&fsmpb.SetSpareKeys{Keys: rapid.Uint32Range(0, 2).Draw(o.t, "spares")})
}

func (o *outside) backup() {
	o.backups = append(o.backups, snapshot(o.t, o.view()))
}

// restore brings any of the backups back.
func (o *outside) restore() {
	if !oneIn(o.t, 2, "restore") {
		return
	}
	data := rapid.SampledFrom(o.backups).Draw(o.t, "backup")
	o.staged++
	before := o.view().Meta()
	o.r.restoreBackup(fmt.Sprint("r", o.staged), data, rapid.IntRange(100, 5000).Draw(o.t, "part"))
	after := o.view().Meta()
	require.NoError(o.t, o.view().Check())
	require.Greater(o.t, after.GetFence(), before.GetFence())
	require.Greater(o.t, after.GetNextIndex(), before.GetNextIndex())
	require.Greater(o.t, after.GetGeneration(), before.GetGeneration())
	require.Equal(o.t, before.GetRestore().GetNumber()+1, after.GetRestore().GetNumber())
	o.r.ok(&fsmpb.BeginSession{NodeId: "n1"})
}

// restart has a node begin anew with a snapshot.
func (o *outside) restart() {
	o.r.twin = New()
	require.NoError(o.t, o.r.twin.Restore(bytes.NewReader(snapshot(o.t, o.view()))))
}

// search reports all stakes for keys of the seed, as the leader's duty would.
func (o *outside) search() {
	c := &fsmpb.AdoptKeys{Search: testSearch(1)}
	landed := map[uint64]string{}
	for _, hash := range o.chain {
		if hash != "" {
			landed[o.bytes[hash][0]] = hash
		}
	}
	c.Search.Done = true
	for _, index := range slices.Sorted(maps.Keys(landed)) {
		f := foundKey(index)
		f.Stake.TxHash = []byte(landed[index])
		c.Found, c.Search.NextIndex = append(c.Found, f), index+1
	}
	o.try(c)
}

// settle says which nonce is the next one, if no mempool shows a transaction.
func (o *outside) settle() {
	a := o.account()
	if len(o.pending(true)) == 0 {
		o.try(&fsmpb.SettleAccount{ChainId: a.GetChainId(), Account: a.GetAddress(), NextNonce: o.nextNonce()})
	}
}

// confirm is an operator who stops every validator that runs with a key of the
// cluster, but for those that the state knows of, and says so.
func (o *outside) confirm() {
	open := o.view().RestoreOpen()
	if open {
		o.settle()
		o.search()
	}
	res := o.try(&fsmpb.ConfirmRestore{Number: o.view().Meta().GetRestore().GetNumber(), Proof: proof(), WaitMs: rapid.SampledFrom([]uint64{0, 100}).Draw(o.t, "wait")})
	if res.Refusal != nil || !open {
		return
	}
	known := map[string]bool{}
	for a := range o.view().Allocations() {
		for _, k := range a.GetKeys() {
			known[podName(a.GetPod())+"#"+a.GetPod().GetUid()+string(k)] = true
		}
	}
	for pod, keys := range o.runs {
		maps.DeleteFunc(keys, func(pubkey string, _ bool) bool { return !known[pod+pubkey] })
	}
}

// confirmStopped is an operator who stops whoever signs with a key that was adopted.
func (o *outside) confirmStopped() {
	for k := range o.view().Keys(nil) {
		if !RestsSinceImport(k) {
			continue
		}
		for _, keys := range o.runs {
			delete(keys, string(k.GetPubkey()))
		}
		o.try(&fsmpb.ConfirmStopped{Pubkey: k.GetPubkey(), Fence: k.GetFence(), Proof: proof()})
	}
}

// restoreBackup stages a backup in parts of this many bytes, and finishes it.
func (r *replica) restoreBackup(id string, data []byte, part int) Result {
	r.t.Helper()
	for i, sequence := 0, uint32(0); i < len(data); i, sequence = i+part, sequence+1 {
		r.ok(&fsmpb.StageRestore{RestoreId: id, Sequence: sequence, Data: data[i:min(i+part, len(data))]})
	}
	m := New()
	require.NoError(r.t, m.Restore(bytes.NewReader(data)))
	return Result{Value: r.ok(&fsmpb.FinishRestore{
		RestoreId: id, Sha256: sumOf(data), Index: m.View().Meta().GetAppliedIndex(), ClusterId: m.View().Meta().GetClusterId(),
		MadeWallMs: 1, Force: true, Replaces: r.View().Meta().GetClusterId(),
	})}
}
