package clouds

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
)

// TestOnKubernetes runs the duty on two real clusters, which its parts share.
func TestOnKubernetes(t *testing.T) {
	t.Parallel()
	kube := kubetest.StartMany(t, 2, kubetest.WithSigner())
	for name, test := range map[string]func(*testing.T, *scene){
		"whole way": testWholeWay,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newScene(t, kube...))
		})
	}
}

func testWholeWay(t *testing.T, s *scene) {
	t.Helper()
	s.lead()
	s.cloud("c", []int{0, 1})
	s.instantiate("c")
	s.awaitUp("c")
	require.Equal(t, fsmpb.CertificateState_CERTIFICATE_STATE_ISSUED, s.row("c", 0).GetState())
	s.terminate("c")
	s.awaitTerminated("c")
}
