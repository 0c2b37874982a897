package fsm

import (
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/fsm/memdb"
)

// sharing lets rows that were decoded one by one share what they have in common, as they
// do where commands made them: a key its holder with the other keys of the pod, an
// allocation the public keys with their rows.
type sharing struct {
	txn  *memdb.Txn
	pods map[podIdentity]*fsmpb.Pod
}

type podIdentity struct{ namespace, name, uid string }

func (s *sharing) share(row any) {
	switch r := row.(type) {
	case *fsmpb.Key:
		r.Holder = s.pod(r.GetHolder())
	case *fsmpb.Allocation:
		r.Pod = s.pod(r.GetPod())
		s.pubkeys(r.GetKeys())
	case *fsmpb.Request:
		s.pubkeys(r.GetReserved())
	}
}

// pod returns the first one that was the same.
func (s *sharing) pod(p *fsmpb.Pod) *fsmpb.Pod {
	if p == nil || len(p.ProtoReflect().GetUnknown()) > 0 {
		return p
	}
	id := podIdentity{p.GetNamespace(), p.GetName(), p.GetUid()}
	if known, ok := s.pods[id]; ok {
		return known
	}
	s.pods[id] = p
	return p
}

func (s *sharing) pubkeys(list [][]byte) {
	for i, pubkey := range list {
		if k := first[*fsmpb.Key](s.txn, tableKeys, pubkey); k != nil {
			list[i] = k.GetPubkey()
		}
	}
}
