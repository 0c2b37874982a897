package fsm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestAClusterStaysTheOneWithCloudsInIt(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	identify := func(uid string) *fsmpb.IdentifyCluster {
		return &fsmpb.IdentifyCluster{Provider: "cp", Cluster: "k", Uid: uid}
	}
	r.refused(NotFound, identify("1"))
	r.describe("p", "c", "r")
	r.refused(Invalid, identify(""))
	r.refused(Invalid, identify(strings.Repeat("x", maxName+1)))
	r.ok(identify("1"))
	r.ok(identify("2")) // there is no cloud in it
	r.act(instantiate, "p", "c")
	audits := r.View().Meta().GetNextAudit()
	r.ok(identify("2"))
	require.Equal(t, audits, r.View().Meta().GetNextAudit(), "nothing new")
	r.refused(WrongState, identify("1"))
	other := testCluster("cp", "k")
	other.GetCluster().Uid, other.GetCluster().Sealed = "1", under(1, "of another cluster")
	r.ok(&fsmpb.PutObject{Object: other, Replace: true})
	require.Equal(t, "2", r.View().KubernetesCluster("cp", "k").GetUid(), "that is not for an operator to say")
	r.act(terminate, "p", "c")
	r.refused(WrongState, identify("1"))
	r.see(fsmpb.CertificateObservation_KIND_REMOVED, "p", "c", "r")
	r.ok(identify("1"))
}

// TestANamespaceUnderTwoNames: one Kubernetes that is registered twice is one.
func TestANamespaceUnderTwoNames(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.describe("q", "c")
	r.put(testCluster("cp", "again"))
	twin := testReference("q", "c", "r")
	twin.GetReference().Cluster = "again"
	r.put(twin)
	r.act(instantiate, "p", "c")
	act := &fsmpb.ActOnCloud{Project: "q", Cloud: "c", Action: instantiate}
	for _, name := range []string{"k", "again"} {
		r.ok(&fsmpb.IdentifyCluster{Provider: "cp", Cluster: name, Uid: "1"})
	}
	r.refused(InUse, act)
	r.act(terminate, "p", "c")
	r.see(fsmpb.CertificateObservation_KIND_STUCK, "p", "c", "r")
	r.refused(InUse, act) // what is left there is the other project's
	moved := testCloud("p", "c")
	moved.GetCloud().Namespace = "other"
	r.refused(WrongState, &fsmpb.PutObject{Object: moved, Replace: true})
	r.see(fsmpb.CertificateObservation_KIND_REMOVED, "p", "c", "r")
	r.ok(act)
}
