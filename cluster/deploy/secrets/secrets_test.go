package secrets

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	core "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"

	"github.com/keysteward/keysteward/node/seal"
)

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func plan() Plan {
	return Plan{
		Prefix: "ks", KEK: "ks-kek", APITLS: "ks-api-tls", RaftTLS: "ks-raft-tls",
		Hosts: []string{"ks-0.peers.ns.svc.cluster.local", "ks-1.peers.ns.svc.cluster.local"}, APINames: []string{"ks", "ks-leader", "localhost", "127.0.0.1"},
		Lifetime: 365 * 24 * time.Hour, Admin: "admin", AdminLifetime: 90 * 24 * time.Hour,
	}
}

// namespace is a fake of Kubernetes for one namespace.
func namespace() (*fake.Clientset, core.SecretInterface) {
	clientset := fake.NewClientset()
	return clientset, clientset.CoreV1().Secrets("ns")
}

func all(t *testing.T, secrets core.SecretInterface) map[string]corev1.Secret {
	t.Helper()
	list, err := secrets.List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	found := map[string]corev1.Secret{}
	for _, s := range list.Items {
		found[s.Name] = s
	}
	return found
}

func ensure(t *testing.T, secrets core.SecretInterface, p Plan) (string, error) {
	t.Helper()
	var said bytes.Buffer
	err := Ensure(t.Context(), secrets, p, now, &said)
	return said.String(), err
}

func TestEverythingIsMadeOnce(t *testing.T) {
	t.Parallel()
	_, secrets := namespace()
	said, err := ensure(t, secrets, plan())
	require.NoError(t, err)
	require.Contains(t, said, "made ks-kek")
	first := all(t, secrets)
	require.Len(t, first, 7)
	id, err := seal.FileID(first["ks-kek"].Data["kek"])
	require.NoError(t, err)
	require.Equal(t, id, string(first["ks-init"].Data["kek-id"]))
	require.True(t, *first["ks-kek"].Immutable)
	for name, s := range first {
		for _, value := range s.Data {
			if name != "ks-init" {
				require.NotContains(t, said, string(value[:min(len(value), 64)]), "nothing secret is said")
			}
		}
	}

	said, err = ensure(t, secrets, plan())
	require.NoError(t, err)
	require.NotContains(t, said, "made")
	require.NotContains(t, said, "NOTE")
	require.Equal(t, first, all(t, secrets), "nothing is changed")
}

func TestCertificatesAreGoodForWhatTheyAreFor(t *testing.T) {
	t.Parallel()
	_, secrets := namespace()
	_, err := ensure(t, secrets, plan())
	require.NoError(t, err)
	made := all(t, secrets)
	leaf := func(name string) (*x509.Certificate, *x509.CertPool) {
		s := made[name]
		require.Equal(t, corev1.SecretTypeTLS, s.Type)
		pair, err := tls.X509KeyPair(s.Data["tls.crt"], s.Data["tls.key"])
		require.NoError(t, err)
		pool := x509.NewCertPool()
		require.True(t, pool.AppendCertsFromPEM(s.Data["ca.crt"]))
		return pair.Leaf, pool
	}
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	api, apiPool := leaf("ks-api-tls")
	raft, raftPool := leaf("ks-raft-tls")
	admin, adminPool := leaf("ks-admin")
	verify := func(c *x509.Certificate, pool *x509.CertPool, host string, use x509.ExtKeyUsage) error {
		_, err := c.Verify(x509.VerifyOptions{Roots: pool, DNSName: host, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{use}})
		return err
	}
	for _, host := range append(plan().Hosts, plan().APINames...) {
		require.NoError(t, verify(api, apiPool, host, server), host)
	}
	for _, host := range plan().Hosts {
		require.NoError(t, verify(raft, raftPool, host, server), host)
		require.NoError(t, verify(raft, raftPool, host, client), host)
	}
	require.Error(t, verify(raft, raftPool, "ks-leader", server), "members are not called so")
	require.Error(t, verify(api, apiPool, "ks", client), "no node is a caller")
	require.NoError(t, verify(admin, adminPool, "", client))
	require.Equal(t, []string{"keysteward:admin"}, admin.Subject.Organization)
	require.Equal(t, "admin", admin.Subject.CommonName)
	require.Equal(t, now.Add(90*24*time.Hour), admin.NotAfter)
	require.NotEqual(t, made["ks-api-ca"].Data, made["ks-raft-ca"].Data, "two authorities")
	require.NoError(t, verify(admin, apiPool, "", client))
	require.Error(t, verify(admin, raftPool, "", client))
}

func TestWhatWasDeletedIsMadeAnewByTheSameAuthority(t *testing.T) {
	t.Parallel()
	_, secrets := namespace()
	_, err := ensure(t, secrets, plan())
	require.NoError(t, err)
	first := all(t, secrets)
	require.NoError(t, secrets.Delete(t.Context(), "ks-api-tls", metav1.DeleteOptions{}))
	_, err = ensure(t, secrets, plan())
	require.NoError(t, err)
	second := all(t, secrets)
	require.NotEqual(t, first["ks-api-tls"].Data["tls.key"], second["ks-api-tls"].Data["tls.key"])
	require.Equal(t, first["ks-api-tls"].Data["ca.crt"], second["ks-api-tls"].Data["ca.crt"])
}

func TestALostKeyEncryptionKeyIsNotReplaced(t *testing.T) {
	t.Parallel()
	_, secrets := namespace()
	_, err := ensure(t, secrets, plan())
	require.NoError(t, err)
	require.NoError(t, secrets.Delete(t.Context(), "ks-kek", metav1.DeleteOptions{}))
	before := all(t, secrets)
	_, err = ensure(t, secrets, plan())
	require.ErrorIs(t, err, ErrKEKLost)
	require.ErrorContains(t, err, string(before["ks-init"].Data["kek-id"]), "says which one to look for")
	require.Equal(t, before, all(t, secrets))

	require.NoError(t, secrets.Delete(t.Context(), "ks-init", metav1.DeleteOptions{}))
	_, err = ensure(t, secrets, plan())
	require.NoError(t, err, "the operator says that it is a new cluster")
}

// A run that ends between the key and the record of it leaves the key as it is.
func TestAnInterruptedRunIsCompleted(t *testing.T) {
	t.Parallel()
	clientset, secrets := namespace()
	fail := true
	clientset.PrependReactor("create", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
		created, ok := a.(clienttesting.CreateAction).GetObject().(*corev1.Secret)
		return fail && ok && created.Name == "ks-init", nil, errors.New("the connection broke")
	})
	_, err := ensure(t, secrets, plan())
	require.ErrorContains(t, err, "the connection broke")
	kek := all(t, secrets)["ks-kek"]
	require.NotEmpty(t, kek.Data)
	fail = false
	_, err = ensure(t, secrets, plan())
	require.NoError(t, err)
	require.Equal(t, kek, all(t, secrets)["ks-kek"])
}

// Several may run at once: one set of Secrets comes of it, whose parts fit each other.
func TestRunsAtOnce(t *testing.T) {
	t.Parallel()
	_, secrets := namespace()
	var running sync.WaitGroup
	failures := make([]error, 8)
	for i := range failures {
		running.Go(func() { failures[i] = Ensure(t.Context(), secrets, plan(), now, &bytes.Buffer{}) })
	}
	running.Wait()
	require.NoError(t, errors.Join(failures...))
	made := all(t, secrets)
	require.Len(t, made, 7)
	id, err := seal.FileID(made["ks-kek"].Data["kek"])
	require.NoError(t, err)
	require.Equal(t, id, string(made["ks-init"].Data["kek-id"]))
	for secret, authority := range map[string]string{"ks-api-tls": "ks-api-ca", "ks-admin": "ks-api-ca", "ks-raft-tls": "ks-raft-ca"} {
		require.Equal(t, made[authority].Data["tls.crt"], made[secret].Data["ca.crt"], secret)
	}
}

// Whoever is slower takes what the other one made: certificates are by its authorities,
// and the record is of its key.
func TestTheSlowerOneTakesWhatIsThere(t *testing.T) {
	t.Parallel()
	_, theirs := namespace()
	_, err := ensure(t, theirs, plan())
	require.NoError(t, err)
	quicker := all(t, theirs)
	for _, name := range []string{"ks-kek", "ks-api-ca", "ks-api-tls"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clientset, secrets := namespace()
			clientset.PrependReactor("create", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
				created, ok := a.(clienttesting.CreateAction).GetObject().(*corev1.Secret)
				if !ok || created.Name != name {
					return false, nil, nil
				}
				other := quicker[name]
				return false, nil, clientset.Tracker().Add(&other)
			})
			said, err := ensure(t, secrets, plan())
			require.NoError(t, err)
			require.Contains(t, said, "kept "+name)
			got := all(t, secrets)
			require.Equal(t, quicker[name].Data, got[name].Data)
			switch name {
			case "ks-kek":
				require.Equal(t, quicker["ks-init"].Data, got["ks-init"].Data)
			case "ks-api-ca":
				require.Equal(t, quicker[name].Data["tls.crt"], got["ks-api-tls"].Data["ca.crt"])
			}
		})
	}
}

func TestWhatOthersMadeIsKept(t *testing.T) {
	t.Parallel()
	own := func() Plan { p := plan(); p.Admin = ""; return p }
	tests := []struct {
		name   string
		secret corev1.Secret
		plan   Plan
		says   string
		err    error
	}{
		{"no authority", corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "ks-api-tls"}, Data: map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("x")}}, own(), "", ErrCertificate},
		{"no certificate", corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "ks-api-tls"}, Data: map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("x"), "ca.crt": []byte("x")}}, own(), "", ErrCertificate},
		{"no key", corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "ks-kek"}, Data: map[string][]byte{"other": nil}}, own(), "", seal.ErrKEK},
		{"another key", corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "ks-init"}, Data: map[string][]byte{"kek-id": []byte("file:0123456789abcdef")}}, own(), "", ErrKEKLost},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, secrets := namespace()
			_, err := secrets.Create(t.Context(), &test.secret, metav1.CreateOptions{})
			require.NoError(t, err)
			_, err = ensure(t, secrets, test.plan)
			require.ErrorIs(t, err, test.err)
			require.Equal(t, test.secret.Data, all(t, secrets)[test.secret.Name].Data)
		})
	}
}

func TestWhatIsToBeKnownOfACertificateThatStays(t *testing.T) {
	t.Parallel()
	_, secrets := namespace()
	short := plan()
	short.Lifetime = 24 * time.Hour
	_, err := ensure(t, secrets, short)
	require.NoError(t, err)
	wider := plan()
	wider.Hosts = append(wider.Hosts, "ks-2.peers.ns.svc.cluster.local")
	before := all(t, secrets)
	said, err := ensure(t, secrets, wider)
	require.NoError(t, err)
	require.Contains(t, said, "NOTE: ks-api-tls ends soon")
	require.Contains(t, said, "NOTE: ks-raft-tls is not for ks-2.peers.ns.svc.cluster.local")
	require.Equal(t, before, all(t, secrets))
}

func TestOnlyWhatIsWantedIsMade(t *testing.T) {
	t.Parallel()
	_, secrets := namespace()
	_, err := ensure(t, secrets, Plan{Prefix: "ks", KEK: "ks-kek"})
	require.NoError(t, err)
	require.Len(t, all(t, secrets), 2, "others make the certificates")
}

// A name that somebody gave may be mistyped: what it means is not made, and nothing else is.
func TestSecretsThatAreGivenAreNotMade(t *testing.T) {
	t.Parallel()
	_, secrets := namespace()
	p := plan()
	p.KEK, p.RaftTLS, p.Given = "his-kek", "his-raft", []string{"his-kek", "his-raft"}
	_, err := ensure(t, secrets, p)
	require.ErrorIs(t, err, ErrMissing)
	require.ErrorContains(t, err, "his-kek")
	require.ErrorContains(t, err, "his-raft", "all that is missing is named at once")
	require.Empty(t, all(t, secrets))

	made := plan()
	made.KEK, made.RaftTLS = p.KEK, p.RaftTLS
	_, err = ensure(t, secrets, made)
	require.NoError(t, err)
	before := all(t, secrets)
	said, err := ensure(t, secrets, p)
	require.NoError(t, err)
	require.NotContains(t, said, "made")
	require.Equal(t, before, all(t, secrets))

	p.Given = []string{"other"}
	_, err = ensure(t, secrets, p)
	require.ErrorIs(t, err, ErrPlan)
}

func TestKubernetesSaysNo(t *testing.T) {
	t.Parallel()
	clientset, secrets := namespace()
	clientset.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("secrets"), "ks-init", errors.New("no such right"))
	})
	_, err := ensure(t, secrets, plan())
	require.True(t, apierrors.IsForbidden(err))
	require.ErrorContains(t, err, "ks-init")
}

func TestPlansThatCanNotBe(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*Plan){
		"nothing to make":  func(p *Plan) { *p = Plan{Prefix: "ks"} },
		"no prefix":        func(p *Plan) { p.Prefix = "" },
		"name":             func(p *Plan) { p.KEK = "Ks_kek" },
		"no hosts":         func(p *Plan) { p.Hosts = nil },
		"no lifetime":      func(p *Plan) { p.Lifetime = 0 },
		"admin's name":     func(p *Plan) { p.Admin = "a b" },
		"admin's lifetime": func(p *Plan) { p.AdminLifetime = -1 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, secrets := namespace()
			p := plan()
			change(&p)
			_, err := ensure(t, secrets, p)
			require.ErrorIs(t, err, ErrPlan)
			require.Empty(t, all(t, secrets))
		})
	}
	p := plan()
	p.Hosts = []string{"*.example"}
	_, secrets := namespace()
	_, err := ensure(t, secrets, p)
	require.ErrorContains(t, err, "*.example")
}
