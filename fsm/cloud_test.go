package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestACloudsLife(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r", "s")
	r.refused(WrongState, &fsmpb.ActOnCloud{Project: "p", Cloud: "c", Action: terminate})
	r.refused(WrongState, &fsmpb.ActOnCloud{Project: "p", Cloud: "c", Action: update})
	r.refused(WrongState, &fsmpb.ActOnCloud{Project: "p", Cloud: "c", Action: rotateKey})
	c := r.act(instantiate, "p", "c")
	require.Equal(t, "Instantiating", r.state("p", "c"))
	require.Equal(t, []string{"r", "s"}, c.GetPlan().GetReferences())
	r.refused(WrongState, &fsmpb.ActOnCloud{Project: "p", Cloud: "c", Action: instantiate})
	r.refused(WrongState, &fsmpb.DeleteObject{Object: testCloud("p", "c")})
	r.refused(WrongState, &fsmpb.DeleteObject{Object: testReference("p", "c", "r")})
	r.issue("p", "c", "r")
	require.Equal(t, "Instantiating", r.state("p", "c"), "s is not ready")
	r.issue("p", "c", "s")
	require.Equal(t, "Instantiated", r.state("p", "c"))
	require.Empty(t, gather(r.View().AllOpenCertificates()))

	r.act(terminate, "p", "c")
	require.Equal(t, "Terminating", r.state("p", "c"))
	require.Nil(t, r.View().Cloud("p", "c").GetKey())
	for row := range r.View().Certificates("p", "c") {
		require.Empty(t, row.GetPem())
	}
	require.Len(t, gather(r.View().OpenCertificates("cp", "k")), 2)
	r.refused(WrongState, &fsmpb.DeleteObject{Object: testCloud("p", "c")})
	r.see(fsmpb.CertificateObservation_KIND_REMOVED, "p", "c", "r")
	require.Equal(t, "Terminating", r.state("p", "c"))
	r.see(fsmpb.CertificateObservation_KIND_STUCK, "p", "c", "s")
	require.Equal(t, "TerminateFailed", r.state("p", "c"))
	require.Len(t, gather(r.View().OpenCertificates("cp", "k")), 1, "it goes on being cleaned")
	r.refused(InUse, &fsmpb.DeleteObject{Object: testCluster("cp", "k")})
	r.act(terminate, "p", "c")
	require.Equal(t, "Terminating", r.state("p", "c"))
	require.True(t, r.View().Certificate("p", "c", "r").GetRemoved(), "what was removed stays so")
	r.see(fsmpb.CertificateObservation_KIND_REMOVED, "p", "c", "s")
	require.Equal(t, "Terminated", r.state("p", "c"))

	before := r.View().Cloud("p", "c").GetGeneration()
	again := r.act(instantiate, "p", "c")
	require.Greater(t, again.GetGeneration(), before)
	require.Nil(t, again.GetKey())
	var done []string
	for _, a := range again.GetActions() {
		require.Equal(t, "tester", a.GetBy())
		done = append(done, a.GetAction())
	}
	require.Equal(t, []string{"instantiate", "terminate", "terminate", "instantiate"}, done)
}

func TestACloudLacksWhatItNeeds(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c")
	act := &fsmpb.ActOnCloud{Project: "p", Cloud: "c", Action: instantiate}
	r.refused(Incomplete, act)
	r.put(testReference("p", "c", "r"))
	r.ok(&fsmpb.DeleteObject{Object: testPermission("p", "c", "u", "ns")})
	r.put(testPermission("p", "c", "everywhere", ""))
	r.put(testPermission("p", "c", "other", "other"))
	r.refused(Incomplete, act)
	r.put(testPermission("p", "c", "u", "ns"))
	r.ok(act)
	r.refused(NotFound, &fsmpb.ActOnCloud{Project: "p", Cloud: "d", Action: instantiate})
	r.refused(Invalid, &fsmpb.ActOnCloud{Project: "p", Cloud: "c"})
}

// TestWhatIsWantedIsThePlan: edits of a live cloud wait for an update.
func TestWhatIsWantedIsThePlan(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.act(instantiate, "p", "c")
	r.issue("p", "c", "r")
	r.put(testPermission("p", "c", "more", "ns"))
	r.put(testQuota("p", "c", "q"))
	r.put(testReference("p", "c", "s"))
	c := r.View().Cloud("p", "c")
	require.Len(t, c.GetPlan().GetPermissions(), 1)
	require.Empty(t, c.GetPlan().GetQuotas())
	require.Nil(t, r.View().Certificate("p", "c", "s"))
	first := r.View().Certificate("p", "c", "r")

	next := r.act(update, "p", "c")
	require.Equal(t, c.GetGeneration(), next.GetGeneration())
	require.Greater(t, next.GetPlan().GetRevision(), c.GetPlan().GetRevision())
	require.Len(t, next.GetPlan().GetPermissions(), 2)
	require.Len(t, next.GetPlan().GetQuotas(), 1)
	require.NotNil(t, next.GetKey(), "the key stays")
	same := r.View().Certificate("p", "c", "r")
	require.Equal(t, []any{first.GetPem(), first.GetRequestName(), first.GetRound(), first.GetState()}, []any{same.GetPem(), same.GetRequestName(), same.GetRound(), same.GetState()})
	require.Equal(t, same.GetWanted(), next.GetPlan().GetRevision())
	require.Equal(t, fsmpb.CertificateState_CERTIFICATE_STATE_WANTED, r.View().Certificate("p", "c", "s").GetState())
	r.see(fsmpb.CertificateObservation_KIND_APPLIED, "p", "c", "r")
	r.issue("p", "c", "s")
	require.Equal(t, "Instantiated", r.state("p", "c"))

	changed := testCloud("p", "c")
	changed.GetCloud().Metadata.Description = "new"
	r.ok(&fsmpb.PutObject{Object: changed, Replace: true})
	require.Equal(t, "new", r.View().Cloud("p", "c").GetMetadata().GetDescription())
	require.NotNil(t, r.View().Cloud("p", "c").GetKey())
	changed = testCloud("p", "c")
	changed.GetCloud().User = "other"
	r.refused(WrongState, &fsmpb.PutObject{Object: changed, Replace: true})
	moved := testReference("p", "c", "r")
	moved.GetReference().LoadBalancerIp = "10.0.0.1"
	r.refused(WrongState, &fsmpb.PutObject{Object: moved, Replace: true})
}

// TestANewKeyIsANewGeneration: nothing of the old one is served from then on.
func TestANewKeyIsANewGeneration(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.act(instantiate, "p", "c")
	r.issue("p", "c", "r")
	old := r.View().Cloud("p", "c")
	late := r.seen(fsmpb.CertificateObservation_KIND_ISSUED, "p", "c", "r")
	r.put(testPermission("p", "c", "more", "ns"))

	c := r.act(rotateKey, "p", "c")
	require.Greater(t, c.GetGeneration(), old.GetGeneration())
	require.Greater(t, c.GetPlan().GetRevision(), old.GetPlan().GetRevision())
	require.Len(t, c.GetPlan().GetPermissions(), 1, "what was not asked to be brought waits for an update")
	require.Nil(t, c.GetKey())
	row := r.View().Certificate("p", "c", "r")
	require.Empty(t, row.GetPem())
	require.Zero(t, row.GetApplied(), "bindings are for the old name")
	require.Equal(t, "Instantiating", r.state("p", "c"))

	r.refused(StaleGeneration, &fsmpb.ObserveCertificates{Observations: []*fsmpb.CertificateObservation{late}})
	r.refused(StaleGeneration, &fsmpb.InstallCloudKey{Project: "p", Cloud: "c", Generation: old.GetGeneration(), Key: testCloudKey(1)})
	r.refused(StaleGeneration, &fsmpb.DiscloseKubeconfig{Project: "p", Cloud: "c", Generation: old.GetGeneration(), References: []string{"r"}})
	r.issue("p", "c", "r")
	require.Equal(t, "Instantiated", r.state("p", "c"))
}

// TestGenerationsAreUsedOnce: a cloud that was deleted and made again is another one.
func TestGenerationsAreUsedOnce(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.describe("p", "d", "r")
	seen := map[uint64]bool{}
	note := func(c *fsmpb.LogicalCloud) {
		require.False(t, seen[c.GetGeneration()])
		seen[c.GetGeneration()] = true
	}
	note(r.act(instantiate, "p", "c"))
	note(r.act(instantiate, "p", "d"))
	note(r.act(rotateKey, "p", "c"))
	r.act(terminate, "p", "c")
	r.see(fsmpb.CertificateObservation_KIND_REMOVED, "p", "c", "r")
	r.ok(&fsmpb.DeleteObject{Object: testCloud("p", "c")})
	r.describe("p", "c", "r")
	note(r.act(instantiate, "p", "c"))
}

func TestAnotherProjectsNamespace(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.describe("q", "c", "r")
	r.describe("p", "d", "r")
	r.act(instantiate, "p", "c")
	r.act(instantiate, "p", "d") // of the same project: shared
	act := &fsmpb.ActOnCloud{Project: "q", Cloud: "c", Action: instantiate}
	r.refused(InUse, act)
	for _, cloud := range []string{"c", "d"} {
		r.refused(InUse, act)
		r.act(terminate, "p", cloud)
		r.refused(InUse, act)
		r.see(fsmpb.CertificateObservation_KIND_REMOVED, "p", cloud, "r")
	}
	r.ok(act)
}

func TestACloudForgetsOldActions(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.act(instantiate, "p", "c")
	var last *fsmpb.LogicalCloud
	for range maxActions + 5 {
		last = r.act(update, "p", "c")
	}
	require.Len(t, last.GetActions(), maxActions)
	require.Equal(t, last.GetPlan().GetRevision(), last.GetActions()[maxActions-1].GetRevision())
}

// TestAKeyComesWithItsAction if it is for the generation that the action begins. The
// action is taken in any case.
func TestAKeyComesWithItsAction(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct {
		change    func(*fsmpb.InstallCloudKey)
		installed bool
	}{
		"the next generation": {func(*fsmpb.InstallCloudKey) {}, true},
		"another generation":  {func(k *fsmpb.InstallCloudKey) { k.Generation++ }, false},
		"another cloud":       {func(k *fsmpb.InstallCloudKey) { k.Cloud = "d" }, false},
		"another project":     {func(k *fsmpb.InstallCloudKey) { k.Project = "q" }, false},
		"a former data key":   {func(k *fsmpb.InstallCloudKey) { k.Key.Sealed = under(2, "key") }, false},
		"no ciphertext":       {func(k *fsmpb.InstallCloudKey) { k.Key.Sealed = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReplica(t)
			r.describe("p", "c", "r")
			r.describe("p", "d", "r")
			for _, action := range []fsmpb.ActOnCloud_Action{instantiate, rotateKey} {
				generation := NextGeneration(r.View().Meta())
				k := &fsmpb.InstallCloudKey{Project: "p", Cloud: "c", Generation: generation, Key: testCloudKey(generation)}
				k.Requests = []*fsmpb.CertificateRequest{nextRequest(&fsmpb.Certificate{Project: "p", Cloud: "c", Reference: "r", Generation: generation})}
				of.change(k)
				got, ok := r.ok(&fsmpb.ActOnCloud{Project: "p", Cloud: "c", Action: action, Key: k}).(*fsmpb.LogicalCloud)
				require.True(t, ok)
				require.Equal(t, generation, got.GetGeneration())
				require.Equal(t, of.installed, got.GetKey() != nil)
				require.Equal(t, of.installed, r.View().Certificate("p", "c", "r").GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_REQUESTED)
				require.Nil(t, r.View().Cloud("p", "d").GetKey())
			}
		})
	}
}
