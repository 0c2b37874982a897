package pods

import (
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// TestDecideIsSettled lets the state take what is decided, again and again as evidence
// changes: what it took is not decided again, nothing but proof ends a rest, and a reason
// never gives way to one that says less.
func TestDecideIsSettled(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := newState(t, 1)
		pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: types.UID("u")}}
		s.allocate(pod, 1)
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			a := s.allocation(pod)
			if a == nil {
				return
			}
			e := drawEvidence(rt)
			if a.GetNode() == e.Last.Node {
				e.NodeUID = a.GetNodeUid()
			}
			identity := rapid.SampledFrom([]string{"k", "k", "k", "other"}).Draw(rt, "identity")
			v := testimony.Judge("u", e)
			o := decide(a, e, v, identity)
			if o == nil {
				continue
			}
			o.WaitMs = 1000
			s.do(&fsmpb.Command{Body: &fsmpb.Command_ObservePods{ObservePods: &fsmpb.ObservePods{KubernetesUid: identity, Pods: []*fsmpb.PodObservation{o}}}})
			now := s.allocation(pod)
			require.NotNil(rt, now, "no proof frees at once here")
			require.Equal(rt, v.Kind.IsProof(), now.GetProof() != nil, "%+v", v)
			if a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_RESTING {
				require.GreaterOrEqual(rt, rank(now.GetCode()), rank(a.GetCode()))
			}
			if v.Kind == testimony.OutOfService {
				require.Equal(rt, a.GetNodeUid(), e.Machine.UID, "it is the machine on record that is off")
			}
			require.Nil(rt, decide(now, e, v, identity), "the state knows it")
			require.NoError(rt, s.View().Check())
		}
	})
}

func drawEvidence(t *rapid.T) testimony.Evidence {
	e := testimony.Evidence{
		Presence: testimony.Presence(rapid.IntRange(0, int(testimony.Replaced)).Draw(t, "presence")),
		Last: testimony.Sight{
			Namespace: "ns", Name: "p", UID: rapid.SampledFrom([]string{"u", "u", "u", "v"}).Draw(t, "uid"),
			Node:     rapid.SampledFrom([]string{"machine", "machine", "elsewhere", ""}).Draw(t, "node"),
			Deleting: rapid.Bool().Draw(t, "deleting"), Terminal: rapid.Bool().Draw(t, "terminal"),
			Collected: rapid.Bool().Draw(t, "collected"), Endures: rapid.Bool().Draw(t, "endures"), Doubt: "doubt",
		},
		Machine: testimony.Machine{
			Name: "machine", UID: rapid.SampledFrom([]string{"m", "m", "n", ""}).Draw(t, "node UID"), Known: true, Ready: rapid.Bool().Draw(t, "ready"), OutOfService: rapid.Bool().Draw(t, "out of service"),
		},
	}
	e.Last.Ended = e.Last.Deleting && e.Last.Terminal && rapid.IntRange(0, 3).Draw(t, "ended") == 0
	return e
}

// TestStranded is about pods of another Kubernetes than the one that answers.
func TestStranded(t *testing.T) {
	t.Parallel()
	s := newState(t, 2)
	pod := func(uid string) *core.Pod {
		return &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: types.UID(uid)}}
	}
	s.allocate(pod("u"), 1)
	seen := &fsmpb.PodObservation{
		Kind: fsmpb.PodObservation_KIND_SEEN, Pod: &fsmpb.Pod{Namespace: "ns", Name: "p", Uid: "u"}, Fence: s.allocation(pod("u")).GetFence(), Node: "machine",
	}
	s.do(&fsmpb.Command{Body: &fsmpb.Command_ObservePods{ObservePods: &fsmpb.ObservePods{KubernetesUid: "k", Pods: []*fsmpb.PodObservation{seen}}}})
	a := s.allocation(pod("u"))
	require.Nil(t, stranded(s.View(), a, "k"))
	require.Nil(t, stranded(s.View(), a, "other"), "nobody waits: the address may be wrong")
	s.allocate(pod("v"), 1)
	require.Nil(t, stranded(s.View(), a, "k"))
	o := stranded(s.View(), a, "other")
	require.Equal(t, testimony.CodeOtherKubernetes, o.GetCode())
	gone := testimony.Evidence{Presence: testimony.Gone}
	require.Nil(t, decide(a, gone, testimony.Judge("u", gone), "other"))
	require.NotNil(t, decide(a, gone, testimony.Judge("u", gone), "k"))
}
