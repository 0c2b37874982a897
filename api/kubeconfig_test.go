package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Kinds of what the duty sees.
const (
	sawRequest  = fsmpb.CertificateObservation_KIND_REQUESTED
	sawApproval = fsmpb.CertificateObservation_KIND_APPROVED
	sawDenial   = fsmpb.CertificateObservation_KIND_DENIED
	sawFailure  = fsmpb.CertificateObservation_KIND_FAILED
	sawApplied  = fsmpb.CertificateObservation_KIND_APPLIED
	sawNothing  = fsmpb.CertificateObservation_KIND_WAITING
)

func (h *harness) kubeconfig(target string, options ...requestOption) *responseRecorder {
	h.Helper()
	return h.do(RoleOperator, http.MethodGet, cloudUnderTest+target, "", options...)
}

const (
	ofR1  = "/cluster-references/r1/kubeconfig"
	ofAll = "/kubeconfig"
)

// loaded is what kubectl makes of an answer.
func loaded(t *testing.T, w *responseRecorder) *clientcmdapi.Config {
	t.Helper()
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, "application/yaml", w.Header().Get("Content-Type"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	c, err := clientcmd.Load(w.Body.Bytes())
	require.NoError(t, err)
	require.NoError(t, clientcmd.Validate(*c))
	return c
}

// The table of answers: what has happened, and what is answered for the reference r1,
// for all references together, and for r1 with a plug-in.
func TestKubeconfigAnswers(t *testing.T) {
	t.Parallel()
	type want struct {
		code int
		what string // step of 202, type of a problem
	}
	const ok, accepted, conflict, gone = http.StatusOK, http.StatusAccepted, http.StatusConflict, http.StatusNotFound
	yes := want{ok, ""}
	up := func(h *harness) *ecdsa.PrivateKey { h.act("instantiate"); return h.install() }
	for name, c := range map[string]struct {
		do            func(h *harness)
		r1, all, exec want
	}{
		"no cloud": {func(h *harness) { h.do(RoleAdmin, http.MethodDelete, cloudUnderTest, "") }, want{gone, "not-found"}, want{gone, "not-found"}, want{gone, "not-found"}},
		"no reference": {
			func(h *harness) {
				h.do(RoleAdmin, http.MethodDelete, cloudUnderTest+"/cluster-references/r1", "")
				h.ready()
			}, want{gone, "not-found"}, yes, want{gone, "not-found"},
		},
		"never instantiated": {func(*harness) {}, want{conflict, "wrong-state"}, want{conflict, "wrong-state"}, want{conflict, "wrong-state"}},
		"terminating":        {func(h *harness) { h.ready(); h.act("terminate") }, want{conflict, "wrong-state"}, want{conflict, "wrong-state"}, want{conflict, "wrong-state"}},
		"terminated": {
			func(h *harness) {
				h.ready()
				h.act("terminate")
				h.see("r1", fsmpb.CertificateObservation_KIND_REMOVED)
				h.see("r2", fsmpb.CertificateObservation_KIND_REMOVED)
			}, want{conflict, "wrong-state"}, want{conflict, "wrong-state"}, want{conflict, "wrong-state"},
		},
		"reference after the last update": {
			func(h *harness) {
				h.do(RoleAdmin, http.MethodDelete, cloudUnderTest+"/cluster-references/r1", "")
				h.ready()
				h.made(cloudUnderTest+"/cluster-references", reference("r1", "one"))
			}, want{conflict, "wrong-state"}, yes, want{conflict, "wrong-state"},
		},
		"no key":       {func(h *harness) { h.act("instantiate") }, want{accepted, "key"}, want{accepted, "key"}, yes},
		"no request":   {func(h *harness) { up(h) }, want{accepted, "request"}, want{accepted, "request"}, yes},
		"not made yet": {func(h *harness) { up(h); h.request("r1") }, want{accepted, "request"}, want{accepted, "request"}, yes},
		"not approved": {func(h *harness) { up(h); h.request("r1"); h.see("r1", sawRequest) }, want{accepted, "approval"}, want{accepted, "approval"}, yes},
		"approved": {
			func(h *harness) { up(h); h.request("r1"); h.see("r1", sawRequest); h.see("r1", sawApproval) },
			want{accepted, "certificate"},
			want{accepted, "certificate"},
			yes,
		},
		"issued":     {func(h *harness) { key := up(h); h.request("r1"); h.issue("r1", key, time.Hour) }, yes, want{accepted, "request"}, yes},
		"all issued": {(*harness).ready, yes, yes, yes},
		"issued, the cluster is down": {
			func(h *harness) { h.ready(); h.see("r1", sawNothing, because("cluster-unreachable", "no route")) }, yes, yes, yes,
		},
		"being renewed": {func(h *harness) { h.ready(); h.request("r1"); h.see("r1", sawRequest) }, yes, yes, yes},
		"renewal denied": {
			func(h *harness) { h.ready(); h.request("r1"); h.see("r1", sawDenial, because("denied", "no")) }, yes, yes, yes,
		},
		"expired": {
			func(h *harness) { key := up(h); h.request("r1"); h.issue("r1", key, -time.Second) }, want{accepted, "apply"}, want{accepted, "apply"}, yes,
		},
		"expired, being renewed": {
			func(h *harness) {
				key := up(h)
				h.request("r1")
				h.issue("r1", key, -time.Second)
				h.request("r1")
				h.see("r1", sawRequest)
			}, want{accepted, "approval"}, want{accepted, "approval"}, yes,
		},
		"expired, renewal denied": {
			func(h *harness) {
				key := up(h)
				h.request("r1")
				h.issue("r1", key, -time.Second)
				h.request("r1")
				h.see("r1", sawDenial, because("denied", "denied by jane: no longer"))
			}, want{conflict, "certificate-refused"}, want{conflict, "certificate-refused"}, yes,
		},
		"denied": {
			func(h *harness) { up(h); h.request("r1"); h.see("r1", sawDenial, because("denied", "denied by jane")) },
			want{conflict, "certificate-refused"},
			want{conflict, "certificate-refused"},
			yes,
		},
		"failed": {
			func(h *harness) { up(h); h.request("r1"); h.see("r1", sawFailure) },
			want{conflict, "certificate-refused"},
			want{conflict, "certificate-refused"},
			yes,
		},
		"another reference was denied": {
			func(h *harness) {
				key := up(h)
				h.request("r1")
				h.issue("r1", key, time.Hour)
				h.request("r2")
				h.see("r2", sawDenial)
			}, yes, want{conflict, "certificate-refused"}, yes,
		},
		"denied, asked for again": {
			func(h *harness) { up(h); h.request("r1"); h.see("r1", sawDenial); h.act("update") }, want{accepted, "request"}, want{accepted, "request"}, yes,
		},
		"a new key": {func(h *harness) { h.ready(); h.act("rotate-key") }, want{accepted, "key"}, want{accepted, "key"}, yes},
		"updated":   {func(h *harness) { h.ready(); h.act("update") }, yes, yes, yes},
		"with a new one": {
			func(h *harness) {
				h.ready()
				h.made(cloudUnderTest+"/cluster-references", reference("r3", "two"))
				h.act("update")
			}, yes, want{accepted, "request"}, yes,
		},
		"the cluster can not be reached": {
			func(h *harness) { up(h); h.see("r1", sawNothing, because("cluster-unreachable", "no route")) }, want{accepted, "request"}, want{accepted, "request"}, yes,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.withCloud()
			c.do(h)
			for target, want := range map[string]want{ofR1: c.r1, ofAll: c.all, ofR1 + "?exec=true": c.exec} {
				before := h.node.proposals()
				w := h.kubeconfig(target)
				require.Equal(t, want.code, w.Code, "%s: %s", target, w.Body)
				switch want.code {
				case ok:
					loaded(t, w)
				case accepted:
					p := read[wire.PendingKubeconfig](t, w)
					require.Equal(t, wire.CloudStep(want.what), p.Step)
					require.NotEmpty(t, p.Reason)
					require.NotEmpty(t, p.Message)
					require.NotEmpty(t, p.Waiting)
					require.NotEmpty(t, w.Header().Get("Retry-After"))
				default:
					requireProblem(t, w, want.code, kind(want.what), "")
				}
				disclosed := 0
				if want == yes && target != ofR1+"?exec=true" {
					disclosed = 1
				}
				require.Equal(t, before+disclosed, h.node.proposals(), "%s: what is disclosed is on record, and nothing else is", target)
			}
		})
	}
}

func TestReasonsForWaiting(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	h.act("instantiate")
	pending := func(target string) wire.PendingKubeconfig {
		return read[wire.PendingKubeconfig](t, h.kubeconfig(target))
	}
	p := pending(ofAll)
	require.Equal(t, []string{"r1", "r2"}, p.Waiting)
	require.Equal(t, "key", p.Reason)
	require.Equal(t, "1", h.kubeconfig(ofAll).Header().Get("Retry-After"))
	key := h.install()
	h.see("r1", sawNothing, because("forbidden", "RBAC lacks create on certificatesigningrequests"))
	p = pending(ofR1)
	require.Equal(t, []string{"r1"}, p.Waiting)
	require.Equal(t, "forbidden", p.Reason)
	require.Equal(t, "RBAC lacks create on certificatesigningrequests", p.Message)
	require.Equal(t, "5", h.kubeconfig(ofR1).Header().Get("Retry-After"))
	h.request("r1")
	h.issue("r1", key, -time.Minute)
	p = pending(ofR1)
	require.Equal(t, "expired", p.Reason)
	require.Contains(t, p.Message, "expired at")
	h.request("r1")
	h.see("r1", sawDenial, because("denied", "denied by kubectl: because: I say so"))
	refused := requireProblem(t, h.kubeconfig(ofR1), http.StatusConflict, refusedByKube, "")
	require.Contains(t, refused.Detail, "denied by kubectl: because: I say so")
}

func TestKubeconfigThatIsGiven(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	h.ready()
	clouds := h.server.cfg.Clouds.(*fakeClouds) //nolint:forcetypeassert // so it was made
	barriers := h.node.barriers
	w := h.kubeconfig(ofR1)
	c := loaded(t, w)
	require.Equal(t, barriers, h.node.barriers, "the command is the read")
	require.Equal(t, "jane@r1", c.CurrentContext)
	require.Equal(t, "ns", c.Contexts["jane@r1"].Namespace)
	require.Equal(t, testServer, c.Clusters["r1"].Server)
	require.Equal(t, testAuthority(), c.Clusters["r1"].CertificateAuthorityData)
	require.NotEmpty(t, c.AuthInfos["jane"].ClientCertificateData)
	require.NotEmpty(t, c.AuthInfos["jane"].ClientKeyData)
	require.NotContains(t, w.Body.String(), testToken)
	for _, key := range clouds.handed {
		require.Equal(t, make([]byte, len(key)), key, "what was opened is cleared")
	}

	all := loaded(t, h.kubeconfig(ofAll))
	require.Len(t, all.Contexts, 2)
	require.Equal(t, "jane@r1", all.CurrentContext)

	exec := loaded(t, h.kubeconfig(ofAll+"?exec=true"))
	require.Empty(t, exec.AuthInfos["jane@r2"].ClientKeyData)
	require.Equal(t, "keysteward", exec.AuthInfos["jane@r2"].Exec.Command)
	require.Equal(t, []string{
		"credential", "--project", "p", "--cloud", "c", "--ref", "r2", "--server", "https://a.example:7400,https://b.example:7400",
	}, exec.AuthInfos["jane@r2"].Exec.Args)
	requireProblem(t, h.kubeconfig(ofR1+"?exec=maybe"), http.StatusBadRequest, invalidField, "exec")
	requireProblem(t, h.kubeconfig(ofR1+"?wait=2m"), http.StatusBadRequest, invalidField, "wait")

	h.vault.sealUp("no key")
	before := h.node.proposals()
	requireProblem(t, h.kubeconfig(ofR1), http.StatusServiceUnavailable, sealed, "")
	require.Equal(t, before, h.node.proposals(), "nothing is on record that was not given")
	loaded(t, h.kubeconfig(ofR1+"?exec=true"))
}

// A certificate of another key is an internal error, and leaves with nobody.
func TestCertificateOfAnotherKey(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	h.act("instantiate")
	h.install()
	h.request("r1")
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	h.issue("r1", foreign, time.Hour)
	w := h.kubeconfig(ofR1)
	requireProblem(t, w, http.StatusInternalServerError, internal, "")
	require.NotContains(t, w.Body.String()+h.log.String(), "PRIVATE KEY")
}

// The cloud changes between the look and the command that discloses: it is looked at
// once more.
func TestKubeconfigOfACloudThatChanges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(h *harness)
		code   int
		kind   kind
	}{
		"terminated": {func(h *harness) { h.node.must(actOn(fsmpb.ActOnCloud_ACTION_TERMINATE)) }, http.StatusConflict, wrongState},
		"a new key":  {func(h *harness) { h.node.must(actOn(fsmpb.ActOnCloud_ACTION_ROTATE_KEY)) }, http.StatusAccepted, ""},
		"a new key that is there": {
			func(h *harness) {
				h.node.must(actOn(fsmpb.ActOnCloud_ACTION_ROTATE_KEY))
				key := h.install()
				h.request("r1")
				h.issue("r1", key, time.Hour)
			}, http.StatusOK, "",
		},
	} {
		for when, early := range map[string]bool{" before the command": true, " after it": false} {
			t.Run(name+when, func(t *testing.T) {
				t.Parallel()
				h := newHarness(t)
				h.withCloud()
				h.ready()
				changed := false
				h.node.onPropose = func(apply func() (any, error)) (any, error) {
					once := !changed
					changed = true
					if once && early {
						c.change(h)
					}
					v, err := apply()
					if once && !early {
						c.change(h)
					}
					return v, err
				}
				w := h.kubeconfig(ofR1)
				require.Equal(t, c.code, w.Code, w.Body)
				if c.kind != "" {
					requireProblem(t, w, c.code, c.kind, "")
				}
				if c.code == http.StatusOK {
					loaded(t, w)
				}
			})
		}
	}
}

func actOn(action fsmpb.ActOnCloud_Action) *fsmpb.Command {
	return &fsmpb.Command{Body: &fsmpb.Command_ActOnCloud{ActOnCloud: &fsmpb.ActOnCloud{Project: "p", Cloud: "c", Action: action}}}
}
