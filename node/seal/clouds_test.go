package seal

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// describe registers a Kubernetes cluster and gives a logical cloud in it a key,
// both sealed as the leader does.
func (s *solo) describe(ring *Keyring) {
	s.t.Helper()
	kubeconfig, err := ring.Seal(KindKubeconfig, KubeconfigID("cp", "k"), []byte("the kubeconfig"))
	require.NoError(s.t, err)
	named := func(name string) *fsmpb.Metadata { return &fsmpb.Metadata{Name: name} }
	for _, o := range []*fsmpb.Object{
		{Kind: &fsmpb.Object_Project{Project: &fsmpb.Project{Metadata: named("p")}}},
		{Kind: &fsmpb.Object_Provider{Provider: &fsmpb.ClusterProvider{Metadata: named("cp")}}},
		{Kind: &fsmpb.Object_Cluster{Cluster: &fsmpb.KubernetesCluster{Provider: "cp", Metadata: named("k"), Sealed: kubeconfig}}},
		{Kind: &fsmpb.Object_Cloud{Cloud: &fsmpb.LogicalCloud{Project: "p", Metadata: named("c"), Namespace: "ns", User: "u"}}},
		{Kind: &fsmpb.Object_Reference{Reference: &fsmpb.ClusterReference{Project: "p", Cloud: "c", Metadata: named("r"), Provider: "cp", Cluster: "k"}}},
		{Kind: &fsmpb.Object_Permission{Permission: &fsmpb.UserPermission{Project: "p", Cloud: "c", Metadata: named("u"), Namespace: "ns"}}},
	} {
		s.do(&fsmpb.Command{Body: &fsmpb.Command_PutObject{PutObject: &fsmpb.PutObject{Object: o}}})
	}
	s.do(&fsmpb.Command{Body: &fsmpb.Command_ActOnCloud{ActOnCloud: &fsmpb.ActOnCloud{Project: "p", Cloud: "c", Action: fsmpb.ActOnCloud_ACTION_INSTANTIATE}}})
	g := s.View().Cloud("p", "c").GetGeneration()
	key, err := ring.Seal(KindCloudKey, CloudKeyID("p", "c", g), []byte("the key"))
	require.NoError(s.t, err)
	s.do(&fsmpb.Command{Body: &fsmpb.Command_InstallCloudKey{InstallCloudKey: &fsmpb.InstallCloudKey{
		Project: "p", Cloud: "c", Generation: g, Key: &fsmpb.CloudKey{Sealed: key, PublicKey: []byte("p"), Request: []byte("r"), CommonName: "u:1"},
	}}})
}

// requireClouds opens what describe sealed.
func requireClouds(t *testing.T, view *fsm.View, ring *Keyring) {
	t.Helper()
	plain, err := ring.Open(KindKubeconfig, KubeconfigID("cp", "k"), view.KubernetesCluster("cp", "k").GetSealed())
	require.NoError(t, err)
	require.Equal(t, "the kubeconfig", string(plain))
	cloud := view.Cloud("p", "c")
	plain, err = ring.Open(KindCloudKey, CloudKeyID("p", "c", cloud.GetGeneration()), cloud.GetKey().GetSealed())
	require.NoError(t, err)
	require.Equal(t, "the key", string(plain))
	_, err = ring.Open(KindCloudKey, CloudKeyID("p", "c", cloud.GetGeneration()+1), cloud.GetKey().GetSealed())
	require.ErrorIs(t, err, ErrOpen, "of another generation")
}
