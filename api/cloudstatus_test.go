package api

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func (h *harness) status() wire.LogicalCloudStatus {
	h.Helper()
	return read[wire.LogicalCloudStatus](h.T, h.get(cloudUnderTest+"/status?consistency=stale"))
}

// steps are where a cloud is in each of its clusters.
func steps(s wire.LogicalCloudStatus) map[string]wire.CloudStep {
	all := make(map[string]wire.CloudStep)
	for _, c := range s.Clusters {
		all[c.Reference] = c.Step
	}
	return all
}

// A whole life, as the status tells it.
func TestStatusOfACloud(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	s := h.status()
	require.Equal(t, wire.CloudStateCreated, s.State)
	require.Equal(t, []any{int64(0), int64(0), 0}, []any{s.Generation, s.Revision, len(s.Actions)})
	require.Equal(t, map[string]wire.CloudStep{"r1": "instantiate", "r2": "instantiate"}, steps(s))

	s = h.act("instantiate")
	require.Equal(t, wire.CloudStateInstantiating, s.State)
	require.Equal(t, h.cloud().GetGeneration(), uint64(s.Generation))
	require.Equal(t, "instantiate", s.Actions[0].Action)
	require.Equal(t, "the-operator", s.Actions[0].By)
	require.False(t, s.Actions[0].Time.IsZero())
	require.Equal(t, map[string]wire.CloudStep{"r1": "key", "r2": "key"}, steps(s))

	key := h.install()
	h.request("r1")
	h.see("r1", sawRequest)
	h.see("r2", sawNothing, because("cluster-unreachable", "dial tcp: no route to host"))
	s = h.status()
	require.Equal(t, "jane:0123456789abcdef", s.CommonName)
	require.Equal(t, map[string]wire.CloudStep{"r1": "approval", "r2": "request"}, steps(s))
	require.Equal(t, wire.CertificateStatus{State: "requested", RequestName: "keysteward-r1"}, s.Clusters[0].Certificate)
	require.Equal(t, "cluster-unreachable", s.Clusters[1].Reason.Code)
	require.Equal(t, "dial tcp: no route to host", s.Clusters[1].Reason.Message)
	require.False(t, s.Clusters[1].Reason.Since.IsZero())

	h.issue("r1", key, time.Hour)
	s = h.status()
	require.Equal(t, wire.CloudStepApply, s.Clusters[0].Step)
	require.False(t, s.Clusters[0].Ready, "the bindings are not there")
	h.see("r1", sawApplied)
	s = h.status()
	require.True(t, s.Clusters[0].Ready)
	require.Equal(t, wire.WaitReason{}, s.Clusters[0].Reason)
	require.Equal(t, "4d", s.Clusters[0].Certificate.Serial)
	require.True(t, s.Clusters[0].Certificate.RenewAt.Before(s.Clusters[0].Certificate.NotAfter))

	h.request("r2")
	h.see("r2", sawFailure, because("failed", "the signer failed: no such usage"))
	s = h.status()
	require.Equal(t, wire.CloudStateInstantiateFailed, s.State)
	require.Equal(t, wire.CloudStepFailed, s.Clusters[1].Step)
	require.Equal(t, "failed", s.Clusters[1].Reason.Code)

	h.made(cloudUnderTest+"/cluster-references", reference("r3", "two"))
	require.Equal(t, wire.CloudStepUpdate, steps(h.status())["r3"])
	s = h.act("update")
	require.Equal(t, map[string]wire.CloudStep{"r1": "apply", "r2": "request", "r3": "request"}, steps(s))
	require.Equal(t, []string{"instantiate", "update"}, []string{s.Actions[0].Action, s.Actions[1].Action})
	require.Greater(t, s.Revision, s.Actions[0].Revision)

	s = h.act("terminate")
	require.Equal(t, wire.CloudStepRemove, s.Clusters[0].Step)
	require.Empty(t, s.CommonName)
	h.see("r1", fsmpb.CertificateObservation_KIND_REMOVED)
	h.see("r3", fsmpb.CertificateObservation_KIND_REMOVED)
	h.see("r2", fsmpb.CertificateObservation_KIND_STUCK, because("stuck", "a finalizer holds it"))
	s = h.status()
	require.Equal(t, wire.CloudStateTerminateFailed, s.State)
	require.Equal(t, map[string]wire.CloudStep{"r1": "removed", "r2": "remove", "r3": "removed"}, steps(s))
	require.Equal(t, "a finalizer holds it", s.Clusters[1].Reason.Message)
	for _, r := range []string{"r1", "r2"} {
		require.Equal(t, http.StatusNoContent, h.do(RoleAdmin, http.MethodDelete, cloudUnderTest+"/cluster-references/"+r, "").Code)
	}
	require.Equal(t, map[string]wire.CloudStep{"r2": "remove", "r3": "removed"}, steps(h.status()), "what is not removed is told")
}

func TestStatusOfExpiredCertificates(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	h.act("instantiate")
	key := h.install()
	h.request("r1")
	h.issue("r1", key, -time.Minute)
	h.see("r1", sawApplied)
	c := h.status().Clusters[0]
	require.False(t, c.Ready)
	require.Equal(t, "expired", c.Reason.Code)
	require.Contains(t, c.Reason.Message, "expired")
	require.NotContains(t, c.Reason.Message, "expired; the last certificate expired", "said once")
}
