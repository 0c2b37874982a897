package fsm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestObjectsAreCreatedOnce(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.put(testQuota("p", "c", "q"))
	r.put(testKeyValues("p", "c", "w"))
	for _, o := range []*fsmpb.Object{
		testProject("p"), testProvider("cp"), testCluster("cp", "k"), testCloud("p", "c"), testReference("p", "c", "r"),
		testPermission("p", "c", "u", "ns"), testQuota("p", "c", "q"), testKeyValues("p", "c", "w"),
	} {
		r.refused(Exists, &fsmpb.PutObject{Object: o})
	}
	v := r.View()
	require.Equal(t, "p", v.Project("p").GetMetadata().GetName())
	require.Equal(t, "cp", v.ClusterProvider("cp").GetMetadata().GetName())
	require.Equal(t, "https://k", v.KubernetesCluster("cp", "k").GetServer())
	require.Equal(t, "Created", r.state("p", "c"))
	require.Equal(t, "k", v.ClusterReference("p", "c", "r").GetCluster())
	require.Equal(t, "ns", v.UserPermission("p", "c", "u").GetNamespace())
	require.Len(t, v.ClusterQuota("p", "c", "q").GetHard(), 2)
	require.Equal(t, []string{"{}"}, v.KeyValues("p", "c", "w").GetPairs())
	require.Nil(t, v.Project("q"))
	require.Nil(t, v.Cloud("p", "d"))
}

func TestARepeatedCreationIsTheFirst(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	create := func(o *fsmpb.Object, with string) Result {
		o.CreatedWith = with
		return r.do(&fsmpb.PutObject{Object: o})
	}
	first := create(testProject("p"), "1")
	require.NoError(t, first.Err())
	audits := r.View().Meta().GetNextAudit()
	sameResult(t, first, create(testProject("p"), "1"))
	require.Equal(t, audits, r.View().Meta().GetNextAudit(), "nothing happened")
	require.ErrorIs(t, create(testProject("p"), "2").Err(), Refused(Exists))
	require.ErrorIs(t, create(testProject("p"), "").Err(), Refused(Exists))
	other := testProject("p")
	other.GetProject().Metadata.Description = "another"
	require.ErrorIs(t, create(other, "1").Err(), Refused(Exists), "the key of another wish")

	// A kubeconfig is sealed anew with each try.
	require.NoError(t, create(testProvider("cp"), "3").Err())
	require.NoError(t, create(testCluster("cp", "k"), "4").Err())
	again := testCluster("cp", "k")
	again.GetCluster().Sealed = under(1, "sealed again")
	require.NoError(t, create(again, "4").Err())
	require.Equal(t, under(1, "kubeconfig k"), r.View().KubernetesCluster("cp", "k").GetSealed())
	require.NoError(t, r.View().Check())
}

func TestObjectsAreChanged(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.refused(NotFound, &fsmpb.PutObject{Object: testProject("q"), Replace: true})
	change := testCloud("p", "c")
	change.GetCloud().Namespace = "other"
	// What only the state machine says is not for an operator to say.
	change.GetCloud().Generation, change.GetCloud().Key = 99, testCloudKey(1)
	change.GetCloud().State = fsmpb.CloudState_CLOUD_STATE_INSTANTIATED
	r.ok(&fsmpb.PutObject{Object: change, Replace: true})
	got := r.View().Cloud("p", "c")
	require.Equal(t, "other", got.GetNamespace())
	require.Zero(t, got.GetGeneration())
	require.Nil(t, got.GetKey())
	require.Equal(t, "Created", r.state("p", "c"))

	cluster := testCluster("cp", "k")
	cluster.GetCluster().Sealed = under(1, "new credential")
	r.ok(&fsmpb.PutObject{Object: cluster, Replace: true})
	require.Equal(t, under(1, "new credential"), r.View().KubernetesCluster("cp", "k").GetSealed())
}

func TestObjectsThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	elsewhere := testReference("p", "c", "s")
	elsewhere.GetReference().Cluster = "none"
	big := testKeyValues("p", "c", "w")
	big.GetKeyValues().Pairs = []string{strings.Repeat("x", maxObject)}
	long := testPermission("p", "c", "v", "ns")
	long.GetPermission().Verbs = []string{strings.Repeat("x", maxPart)}
	late := testCluster("cp", "late")
	late.GetCluster().Sealed = under(9, "of no data key")
	open := testCluster("cp", "bare")
	open.GetCluster().Sealed = nil
	for name, x := range map[string]struct {
		code   Code
		object *fsmpb.Object
	}{
		"nothing":              {Invalid, nil},
		"no kind":              {Invalid, &fsmpb.Object{}},
		"no name":              {Invalid, testProject("")},
		"a long name":          {Invalid, testProject(strings.Repeat("x", maxObjectName+1))},
		"a slash":              {Invalid, testProject("a/b")},
		"a zero byte":          {Invalid, testCloud("p", "a\x00b")},
		"no project":           {NotFound, testCloud("q", "c")},
		"no cloud":             {NotFound, testReference("p", "d", "r")},
		"a project of nowhere": {NotFound, testReference("q", "c", "r")},
		"no provider":          {NotFound, testCluster("other", "k")},
		"no cluster":           {NotFound, elsewhere},
		"too big":              {Invalid, big},
		"too big for a plan":   {Invalid, long},
		"of no data key":       {StaleSeal, late},
		"no kubeconfig":        {Invalid, open},
		"no namespace": {Invalid, &fsmpb.Object{Kind: &fsmpb.Object_Cloud{Cloud: &fsmpb.LogicalCloud{
			Project: "p", Metadata: named("x"), User: "u",
		}}}},
	} {
		before := bare(r.View())
		require.ErrorIs(t, r.do(&fsmpb.PutObject{Object: x.object}).Err(), Refused(x.code), name)
		require.Equal(t, before, bare(r.View()), name)
	}
}

func TestACloudHasBounds(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c")
	var batch []*fsmpb.Command
	for i := range MaxCloudParts {
		batch = append(batch, command(1, 1, &fsmpb.PutObject{Object: testReference("p", "c", fmt.Sprint("r", i))}))
	}
	for _, res := range r.apply(batch...) {
		require.NoError(t, res.Err())
	}
	r.refused(TooMany, &fsmpb.PutObject{Object: testReference("p", "c", "one-more")})
	r.put(testCloud("p", "d"))
	r.put(testReference("p", "d", "r"))
}

func TestWhatIsInUseStays(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.put(testCloud("p", "cc")) // whose name begins like the other's
	r.put(testReference("p", "cc", "r"))
	remove := func(o *fsmpb.Object) *fsmpb.DeleteObject { return &fsmpb.DeleteObject{Object: o} }
	r.refused(InUse, remove(testProject("p")))
	r.refused(InUse, remove(testProvider("cp")))
	r.refused(InUse, remove(testCluster("cp", "k")))
	r.refused(NotFound, remove(testProject("q")))
	r.refused(Invalid, remove(nil))
	r.ok(remove(testCloud("p", "c")))
	require.Nil(t, r.View().ClusterReference("p", "c", "r"), "it goes with its cloud")
	require.Nil(t, r.View().UserPermission("p", "c", "u"))
	require.NotNil(t, r.View().ClusterReference("p", "cc", "r"))
	r.refused(InUse, remove(testCluster("cp", "k")))
	for _, o := range []*fsmpb.Object{testReference("p", "cc", "r"), testCluster("cp", "k"), testProvider("cp"), testCloud("p", "cc"), testProject("p")} {
		r.ok(remove(o))
	}
	terms := r.View().Meta().GetSeal().GetTerms()
	require.EqualValues(t, 1, terms[0].GetRecords(), "the seed is left")
}

func TestListsAreByName(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.put(testProject("b"))
	r.put(testProject("a"))
	r.put(testCloud("b", "y"))
	r.put(testCloud("b", "x"))
	r.put(testCloud("a", "z"))
	text := func(seq func(func(*fsmpb.LogicalCloud) bool)) (names []string) {
		for c := range seq {
			names = append(names, c.GetProject()+"/"+c.GetMetadata().GetName())
		}
		return names
	}
	require.Equal(t, []string{"b/x", "b/y"}, text(r.View().Clouds("b")))
	require.Equal(t, []string{"a/z", "b/x", "b/y"}, text(r.View().AllClouds()))
	require.Empty(t, text(r.View().Clouds("")))
	require.Len(t, gather(r.View().Projects()), 2)
}

// TestObjectsAreSealedAgain: a data key is not given up while a kubeconfig or a
// key of a cloud is under it.
func TestObjectsAreSealedAgain(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.act(instantiate, "p", "c")
	r.giveKey("p", "c", "r")
	s := r.View().Meta().GetSeal()
	r.ok(&fsmpb.UpdateKeyring{Sealed: []byte("k2"), Revision: s.GetRevision(), CurrentTerm: 2, OldestTerm: 1, Change: rotate})
	var sealed []*fsmpb.Resealed
	for o := range r.View().SealedObjectsBelow(2) {
		again := &fsmpb.Resealed{OldSha256: sumOf(sealedIn(o)), Sealed: under(2, "again")}
		if o.GetCluster() != nil {
			again.KubernetesCluster = "cp/k"
		} else {
			again.Cloud = "p/c"
		}
		sealed = append(sealed, again)
	}
	require.Len(t, sealed, 2)
	seed := &fsmpb.Resealed{Secret: SecretSeed, OldSha256: sumOf(under(1, "sealed")), Sealed: under(2, "seed")}
	require.Equal(t, Resealed(1), r.ok(&fsmpb.Reseal{Records: []*fsmpb.Resealed{seed}}))
	give := &fsmpb.UpdateKeyring{Sealed: []byte("k3"), Revision: s.GetRevision() + 1, CurrentTerm: 2, OldestTerm: 2, Change: prune}
	r.refused(StaleKeyring, give)
	require.Equal(t, Resealed(2), r.ok(&fsmpb.Reseal{Records: sealed}))
	require.Equal(t, Resealed(0), r.ok(&fsmpb.Reseal{Records: sealed}), "late")
	r.ok(give)
	require.Equal(t, under(2, "again"), r.View().Cloud("p", "c").GetKey().GetSealed())
}
