package testimony

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEndings says of each code what would end the rest, as the table in README.md does.
func TestEndings(t *testing.T) {
	t.Parallel()
	const (
		taint    = "the taint node.kubernetes.io/out-of-service on the node node-1, once its machine is off"
		lease    = "the end of its lease, in 3m0s"
		operator = "keysteward release --confirm-stopped --namespace ns --pod p --pod-uid u"
		shown    = "Kubernetes showing that all its containers ended, once the pod is deleted"
		back     = "the machine coming back and stopping the pod"
		recorded = "the Kubernetes in which it was seen coming back"
	)
	known := Holder{Namespace: "ns", Name: "p", UID: "u", Node: machine, NodeUID: machineUID}
	for code, want := range map[string][]string{
		CodeReleased:         {shown, taint, operator},
		CodeForceDeleted:     {taint, operator},
		CodeGone:             {taint, operator},
		CodeReplaced:         {taint, operator},
		CodeCollected:        {operator},
		CodeContainerUnknown: {taint, operator},
		CodeNodeUnreachable:  {back, taint, operator},
		CodeOtherKubernetes:  {recorded, operator},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, Endings(code, known))
			for _, h := range []Holder{{Node: machine}, {NodeUID: machineUID}} {
				h.Namespace, h.Name, h.UID = "ns", "p", "u"
				require.NotContains(t, Endings(code, h), taint, "which machine it was is not known")
			}
			leased := known
			leased.Lease = "in 3m0s"
			require.Contains(t, Endings(code, leased), lease)
			require.Len(t, Endings(code, leased), len(want)+1)
			require.Equal(t, operator, Endings(code, leased)[len(want)])
		})
	}
}
