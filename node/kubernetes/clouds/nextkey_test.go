package clouds

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
	"github.com/keysteward/keysteward/node/seal"
)

const nowhere = `
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`

// actWith takes an action together with the key of NextKey, after something else if
// that is given.
func (s *scene) actWith(cloud string, action fsmpb.ActOnCloud_Action, meanwhile func()) {
	s.t.Helper()
	act := &fsmpb.ActOnCloud{Project: project, Cloud: cloud, Action: action, Key: s.secrets.NextKey(project, cloud, action)}
	require.NotNil(s.t, act.GetKey())
	if meanwhile != nil {
		meanwhile()
	}
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_ActOnCloud{ActOnCloud: act}})
}

// requireKey holds if a cloud has a key of its generation that opens, and requests for
// its clusters.
func (s *scene) requireKey(name string, clusters ...int) (spki []byte) {
	s.t.Helper()
	c := s.get(name)
	der, err := s.secrets.CloudKey(s.t.Context(), c)
	require.NoError(s.t, err)
	key, err := certificate.ParseKey(der)
	require.NoError(s.t, err)
	require.Equal(s.t, key.SPKI(), c.GetKey().GetPublicKey())
	who := certificate.Owner{ClusterID: s.id(), Project: project, Cloud: name, Generation: c.GetGeneration()}
	require.Equal(s.t, who.CommonName("user"), c.GetKey().GetCommonName())
	for _, k := range clusters {
		row := s.row(name, k)
		require.Equal(s.t, fsmpb.CertificateState_CERTIFICATE_STATE_REQUESTED, row.GetState())
		require.EqualValues(s.t, 1, row.GetRound())
	}
	require.NoError(s.t, s.View().Check())
	return key.SPKI()
}

func TestAKeyIsDecidedWithItsAction(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.registerText(clusterName(0), []byte(nowhere), false)
	s.registerText(clusterName(1), []byte(nowhere), false)
	for _, algorithm := range []certificate.Algorithm{certificate.ECDSAP256, certificate.Ed25519} {
		name := "with-" + string(algorithm)
		s.cloud(name, []int{0, 1}, func(c *fsmpb.LogicalCloud) { c.Algorithm = string(algorithm) })
		s.actWith(name, fsmpb.ActOnCloud_ACTION_INSTANTIATE, nil)
		first := s.requireKey(name, 0, 1)
		s.actWith(name, fsmpb.ActOnCloud_ACTION_ROTATE_KEY, nil)
		require.NotEqual(t, first, s.requireKey(name, 0, 1))
	}
}

// TestAKeyOfAnotherGenerationIsLeftOut: the action is taken all the same, and the duty
// makes the key.
func TestAKeyOfAnotherGenerationIsLeftOut(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.registerText(clusterName(0), []byte(nowhere), false)
	s.cloud("quick", []int{0})
	s.cloud("late", []int{0})
	s.actWith("late", fsmpb.ActOnCloud_ACTION_INSTANTIATE, func() {
		s.actWith("quick", fsmpb.ActOnCloud_ACTION_INSTANTIATE, nil)
	})
	s.requireKey("quick", 0)
	require.Nil(t, s.get("late").GetKey())
	require.Equal(t, fsmpb.CertificateState_CERTIFICATE_STATE_WANTED, s.row("late", 0).GetState())
	s.lead()
	s.eventually(func() bool { return s.get("late").GetKey() != nil }, "late", "the duty makes the key")
	s.requireKey("late", 0)
}

func TestNoKeyBeforeItsTime(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.registerText(clusterName(0), []byte(nowhere), false)
	s.cloud("slow", []int{0}, func(c *fsmpb.LogicalCloud) { c.Algorithm = string(certificate.RSA4096) })
	s.cloud("bare", nil)
	s.cloud("up", []int{0})
	s.instantiate("up")
	s.cloud("new", []int{0})
	const instantiate = fsmpb.ActOnCloud_ACTION_INSTANTIATE
	for name, of := range map[string]struct {
		cloud  string
		action fsmpb.ActOnCloud_Action
	}{
		"a slow one":       {"slow", instantiate},
		"no references":    {"bare", instantiate},
		"no cloud":         {"none", instantiate},
		"it is up":         {"up", instantiate},
		"it is not up":     {"new", fsmpb.ActOnCloud_ACTION_ROTATE_KEY},
		"it keeps its key": {"up", fsmpb.ActOnCloud_ACTION_UPDATE},
		"its key goes":     {"up", fsmpb.ActOnCloud_ACTION_TERMINATE},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Nil(t, s.secrets.NextKey(project, of.cloud, of.action))
		})
	}
	closed := NewSecrets(sealedVault{}, s)
	require.Nil(t, closed.NextKey(project, "new", instantiate), "on a sealed node")
}

// sealedVault opens nothing.
type sealedVault struct{}

func (sealedVault) Keyring(*fsm.View) (*seal.Keyring, error) { return nil, node.ErrSealed }
