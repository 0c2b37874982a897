package fsm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func observations(list ...*fsmpb.CertificateObservation) *fsmpb.ObserveCertificates {
	return &fsmpb.ObserveCertificates{Observations: list}
}

func TestAKeyIsInstalledOnce(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	g := uint64(1)
	key := func() *fsmpb.InstallCloudKey {
		return &fsmpb.InstallCloudKey{Project: "p", Cloud: "c", Generation: g, Key: testCloudKey(g)}
	}
	r.refused(StaleGeneration, key())
	g = r.act(instantiate, "p", "c").GetGeneration()
	r.refused(NotFound, &fsmpb.InstallCloudKey{Project: "p", Cloud: "d", Generation: g, Key: testCloudKey(g)})
	for _, spoil := range []func(*fsmpb.CloudKey){
		func(k *fsmpb.CloudKey) { k.Sealed = nil }, func(k *fsmpb.CloudKey) { k.Request = nil }, func(k *fsmpb.CloudKey) { k.CommonName = "" },
		func(k *fsmpb.CloudKey) { k.PublicKey = make([]byte, maxCloudKey+1) },
	} {
		c := key()
		spoil(c.GetKey())
		r.refused(Invalid, c)
	}
	late := key()
	late.Key.Sealed = under(7, "x")
	r.refused(StaleSeal, late)
	r.ok(key())
	other := key()
	other.Key.Sealed = under(1, "of another leader")
	r.refused(Exists, other)
	require.Equal(t, testCloudKey(g).GetSealed(), r.View().Cloud("p", "c").GetKey().GetSealed())
}

func TestRequestsAreRecordedInTheirRound(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.act(instantiate, "p", "c")
	first := nextRequest(r.View().Certificate("p", "c", "r"))
	ask := func(x *fsmpb.CertificateRequest) *fsmpb.RequestCertificates {
		return &fsmpb.RequestCertificates{Requests: []*fsmpb.CertificateRequest{x}}
	}
	r.refused(StaleGeneration, ask(first)) // there is no key
	r.giveKey("p", "c")
	r.refused(Invalid, &fsmpb.RequestCertificates{})
	require.Equal(t, Requested(1), r.ok(ask(first)))
	r.refused(StaleGeneration, ask(first)) // again
	second := nextRequest(r.View().Certificate("p", "c", "r"))
	r.refused(StaleGeneration, ask(second)) // the first one is open
	r.see(fsmpb.CertificateObservation_KIND_REQUESTED, "p", "c", "r")
	r.see(fsmpb.CertificateObservation_KIND_LOST, "p", "c", "r")
	require.Equal(t, fsmpb.CertificateState_CERTIFICATE_STATE_WANTED, r.View().Certificate("p", "c", "r").GetState())
	second.Name = strings.Repeat("x", maxRequestName+1)
	r.refused(StaleGeneration, ask(second))
	second.Name = "second"
	r.ok(ask(second))
	require.Equal(t, "second", r.View().Certificate("p", "c", "r").GetRequestName())
	require.Empty(t, r.View().Certificate("p", "c", "r").GetRequestUid())
}

// TestObservationsOfAnotherRequest: what is late changes nothing.
func TestObservationsOfAnotherRequest(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.act(instantiate, "p", "c")
	r.giveKey("p", "c", "r")
	r.see(fsmpb.CertificateObservation_KIND_REQUESTED, "p", "c", "r")
	for name, change := range map[string]func(*fsmpb.CertificateObservation){
		"generation": func(o *fsmpb.CertificateObservation) { o.Generation-- },
		"round":      func(o *fsmpb.CertificateObservation) { o.Round++ },
		"UID":        func(o *fsmpb.CertificateObservation) { o.RequestUid = "another" },
		"no UID":     func(o *fsmpb.CertificateObservation) { o.RequestUid = "" },
		"reference":  func(o *fsmpb.CertificateObservation) { o.Reference = "s" },
	} {
		for _, kind := range []fsmpb.CertificateObservation_Kind{
			fsmpb.CertificateObservation_KIND_APPROVED, fsmpb.CertificateObservation_KIND_ISSUED, fsmpb.CertificateObservation_KIND_DENIED, fsmpb.CertificateObservation_KIND_FAILED,
		} {
			o := r.seen(kind, "p", "c", "r")
			change(o)
			before := bare(r.View())
			require.ErrorIs(t, r.do(observations(o)).Err(), Refused(StaleGeneration), "%s %v", name, kind)
			require.Equal(t, before, bare(r.View()))
		}
	}
	late, good := r.seen(fsmpb.CertificateObservation_KIND_ISSUED, "p", "c", "r"), r.seen(fsmpb.CertificateObservation_KIND_ISSUED, "p", "c", "r")
	late.Generation++
	require.Equal(t, Observed(1), r.ok(observations(late, good)), "the late one is left out")
	require.Equal(t, good.GetPem(), r.View().Certificate("p", "c", "r").GetPem())
	r.refused(StaleGeneration, observations(good)) // it does not wait any more
	r.refused(Invalid, observations())
}

func TestACertificateIsNeverEmpty(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.act(instantiate, "p", "c")
	r.giveKey("p", "c", "r")
	for name, spoil := range map[string]func(*fsmpb.CertificateObservation){
		"empty":           func(o *fsmpb.CertificateObservation) { o.Pem = "" },
		"too long":        func(o *fsmpb.CertificateObservation) { o.Pem = strings.Repeat("x", maxCertificate+1) },
		"no serial":       func(o *fsmpb.CertificateObservation) { o.Serial = "" },
		"ends at once":    func(o *fsmpb.CertificateObservation) { o.NotAfterWallMs = o.GetNotBeforeWallMs() },
		"before the time": func(o *fsmpb.CertificateObservation) { o.NotBeforeWallMs = -1 },
	} {
		o := r.seen(fsmpb.CertificateObservation_KIND_ISSUED, "p", "c", "r")
		spoil(o)
		before := bare(r.View())
		require.ErrorIs(t, r.do(observations(o)).Err(), Refused(Invalid), name)
		require.Equal(t, before, bare(r.View()), name)
	}
}

// TestRenewal: the certificate before stays until the next one is there, even if
// that one is denied.
func TestRenewal(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.act(instantiate, "p", "c")
	r.issue("p", "c", "r")
	row := r.View().Certificate("p", "c", "r")
	require.EqualValues(t, 3000, row.GetRenewWallMs(), "two thirds of 1000 to 4000")
	require.Len(t, gather(r.View().Renewals()), 1)
	r.ok(&fsmpb.RequestCertificates{Requests: []*fsmpb.CertificateRequest{nextRequest(row)}})
	require.Empty(t, gather(r.View().Renewals()))
	require.Equal(t, row.GetPem(), r.View().Certificate("p", "c", "r").GetPem())
	require.Equal(t, "Instantiated", r.state("p", "c"))
	r.see(fsmpb.CertificateObservation_KIND_DENIED, "p", "c", "r")
	require.Equal(t, row.GetPem(), r.View().Certificate("p", "c", "r").GetPem())
	require.Equal(t, "Instantiated", r.state("p", "c"))
	r.ok(&fsmpb.DiscloseKubeconfig{Project: "p", Cloud: "c", Generation: row.GetGeneration(), References: []string{"r"}})
	require.Empty(t, gather(r.View().AllOpenCertificates()), "it is for an operator to say")

	r.act(update, "p", "c")
	require.Equal(t, "Instantiating", r.state("p", "c"))
	r.issue("p", "c", "r")
	require.Equal(t, "Instantiated", r.state("p", "c"))
	require.NotEqual(t, row.GetPem(), r.View().Certificate("p", "c", "r").GetPem())
}

func TestDeniedAndFailed(t *testing.T) {
	t.Parallel()
	for _, kind := range []fsmpb.CertificateObservation_Kind{fsmpb.CertificateObservation_KIND_DENIED, fsmpb.CertificateObservation_KIND_FAILED} {
		r := newReplica(t)
		r.describe("p", "c", "r", "s")
		g := r.act(instantiate, "p", "c").GetGeneration()
		r.giveKey("p", "c", "r", "s")
		r.refused(StaleGeneration, &fsmpb.DiscloseKubeconfig{Project: "p", Cloud: "c", Generation: g, References: []string{"r"}})
		o := r.seen(kind, "p", "c", "r")
		o.Code, o.Detail = "denied", "by policy"
		r.ok(observations(o))
		require.Equal(t, "InstantiateFailed", r.state("p", "c"))
		require.Equal(t, "by policy", r.View().Certificate("p", "c", "r").GetDetail())
		r.see(fsmpb.CertificateObservation_KIND_ISSUED, "p", "c", "s")
		r.ok(&fsmpb.DiscloseKubeconfig{Project: "p", Cloud: "c", Generation: g, References: []string{"s"}})
		r.refused(StaleGeneration, &fsmpb.DiscloseKubeconfig{Project: "p", Cloud: "c", Generation: g, References: []string{"s", "r"}})
		r.refused(Invalid, &fsmpb.DiscloseKubeconfig{Project: "p", Cloud: "c", Generation: g})
		r.act(terminate, "p", "c")
		r.refused(StaleGeneration, &fsmpb.DiscloseKubeconfig{Project: "p", Cloud: "c", Generation: g, References: []string{"s"}})
		r.refused(NotFound, &fsmpb.DiscloseKubeconfig{Project: "p", Cloud: "d", Generation: g, References: []string{"s"}})
	}
}

func TestWhyACertificateWaits(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.act(instantiate, "p", "c")
	wait := r.seen(fsmpb.CertificateObservation_KIND_WAITING, "p", "c", "r")
	wait.Code, wait.Detail = "cluster-unreachable", strings.Repeat("x", 10_000)
	audits := r.View().Meta().GetNextAudit()
	r.ok(observations(wait))
	since := r.View().Certificate("p", "c", "r").GetSinceWallMs()
	require.Len(t, r.View().Certificate("p", "c", "r").GetDetail(), 1024)
	wait.Detail = "other words"
	r.ok(observations(wait))
	require.Equal(t, since, r.View().Certificate("p", "c", "r").GetSinceWallMs(), "it has waited since then")
	require.Equal(t, audits, r.View().Meta().GetNextAudit(), "that it waits is no act")
	r.giveKey("p", "c", "r")
	require.Empty(t, r.View().Certificate("p", "c", "r").GetCode())

	r.act(terminate, "p", "c")
	r.refused(StaleGeneration, observations(r.seen(fsmpb.CertificateObservation_KIND_APPLIED, "p", "c", "r")))
	odd := r.seen(fsmpb.CertificateObservation_KIND_STUCK, "p", "c", "r")
	odd.Code = "other"
	r.refused(Invalid, observations(odd))
}

func TestWhatWasAppliedIsOfThePlan(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.describe("p", "c", "r")
	r.act(instantiate, "p", "c")
	first := r.seen(fsmpb.CertificateObservation_KIND_APPLIED, "p", "c", "r")
	r.act(update, "p", "c")
	r.ok(observations(first))
	row := r.View().Certificate("p", "c", "r")
	require.Less(t, row.GetApplied(), row.GetWanted())
	future := r.seen(fsmpb.CertificateObservation_KIND_APPLIED, "p", "c", "r")
	future.Revision++
	r.refused(Invalid, observations(future))
}
