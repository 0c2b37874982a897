package api

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// fakeClouds seals with nothing that deserves the name.
type fakeClouds struct {
	node  *fakeNode
	vault *fakeVault
	// onKey, if set, is called before a key is opened.
	onKey func()
	// handed are the keys that were given out.
	handed [][]byte
}

func (f *fakeClouds) PutCluster(ctx context.Context, put *fsmpb.PutObject, kubeconfig []byte, caller *fsmpb.Caller, requestID string) (*fsmpb.Object, error) {
	if _, isSealed := f.vault.Sealed(); isSealed {
		return nil, node.ErrSealed
	}
	put.Object.GetCluster().Sealed = unmask(kubeconfig)
	value, err := f.node.Propose(ctx, &fsmpb.Command{Caller: caller, RequestId: requestID, Body: &fsmpb.Command_PutObject{PutObject: put}})
	o, _ := value.(*fsmpb.Object)
	return o, err
}

func (*fakeClouds) NextKey(string, string, fsmpb.ActOnCloud_Action) *fsmpb.InstallCloudKey {
	return nil
}

func (f *fakeClouds) CloudKey(_ context.Context, cloud *fsmpb.LogicalCloud) ([]byte, error) {
	if f.onKey != nil {
		f.onKey()
	}
	if cloud.GetKey() == nil {
		return nil, errors.New("no key")
	}
	key := unmask(cloud.GetKey().GetSealed())
	f.handed = append(f.handed, key)
	return key, nil
}

// opened is the kubeconfig that is kept of a Kubernetes cluster.
func (h *harness) opened(provider, cluster string) string {
	return string(unmask(h.node.View().KubernetesCluster(provider, cluster).GetSealed()))
}

const testServer = "https://kube.example:6443"

// testAuthority is a certificate in PEM.
var testAuthority = sync.OnceValue(func() []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return certificatePEM(key, "the authority", 1, time.Unix(0, 0), time.Unix(1<<32, 0))
})

func certificatePEM(key *ecdsa.PrivateKey, name string, serial int64, from, to time.Time) []byte {
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

const testToken = "the-token-of-the-kubernetes-cluster"

// testKubeconfig is one that can be registered.
var testKubeconfig = sync.OnceValue(func() string {
	c := clientcmdapi.NewConfig()
	c.Clusters["k"] = &clientcmdapi.Cluster{Server: testServer, CertificateAuthorityData: testAuthority()}
	c.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: testToken}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "k", AuthInfo: "u"}
	c.CurrentContext = "x"
	text, err := clientcmd.Write(*c)
	if err != nil {
		panic(err)
	}
	return string(text)
})

// formPart is a part of a multipart body.
type formPart struct{ name, contentType, content string }

// form sends parts to register a Kubernetes cluster.
func (h *harness) form(role Role, method, target string, parts []formPart, options ...requestOption) *httptest.ResponseRecorder {
	h.Helper()
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	for _, p := range parts {
		head := textproto.MIMEHeader{"Content-Disposition": {`form-data; name="` + p.name + `"; filename="f"`}}
		if p.contentType != "" {
			head.Set("Content-Type", p.contentType)
		}
		w, err := m.CreatePart(head)
		require.NoError(h, err)
		_, err = w.Write([]byte(p.content))
		require.NoError(h, err)
	}
	require.NoError(h, m.Close())
	options = append([]requestOption{header("Content-Type", m.FormDataContentType())}, options...)
	return h.do(role, method, target, body.String(), options...)
}

func goodForm(name string) []formPart {
	return []formPart{
		{"metadata", "application/json", `{"metadata":{"name":"` + name + `","description":"a cluster"}}`},
		{"file", "application/octet-stream", testKubeconfig()},
	}
}

// made posts as an admin and wants 201.
func (h *harness) made(target, body string) *httptest.ResponseRecorder {
	h.Helper()
	w := h.do(RoleAdmin, http.MethodPost, target, body)
	require.Equal(h, http.StatusCreated, w.Code, "%s: %s", target, w.Body)
	return w
}

const cloudUnderTest = "/v2/projects/p/logical-clouds/c"

// withCloud has a project p, a provider cp with clusters one and two, and a logical
// cloud c that refers to them as r1 and r2, with a permission and a quota.
func (h *harness) withCloud() {
	h.Helper()
	h.made("/v2/projects", `{"metadata":{"name":"p"}}`)
	h.made("/v2/cluster-providers", `{"metadata":{"name":"cp"}}`)
	for _, name := range []string{"one", "two"} {
		w := h.form(RoleAdmin, http.MethodPost, "/v2/cluster-providers/cp/clusters", goodForm(name))
		require.Equal(h, http.StatusCreated, w.Code, w.Body)
	}
	h.made("/v2/projects/p/logical-clouds", `{"metadata":{"name":"c"},"spec":{"namespace":"ns","user":{"userName":"jane"}}}`)
	h.made(cloudUnderTest+"/cluster-references", reference("r1", "one"))
	h.made(cloudUnderTest+"/cluster-references", reference("r2", "two"))
	h.made(cloudUnderTest+"/user-permissions", permission("view", "ns"))
	h.made(cloudUnderTest+"/cluster-quotas", `{"metadata":{"name":"q"},"spec":{"limits.cpu":"4"}}`)
}

func reference(name, cluster string) string {
	return `{"metadata":{"name":"` + name + `"},"spec":{"clusterProvider":"cp","cluster":"` + cluster + `"}}`
}

func permission(name, namespace string) string {
	return `{"metadata":{"name":"` + name + `"},"spec":{"namespace":"` + namespace + `","apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}}`
}

// act wants an action to be taken up, and returns the status.
func (h *harness) act(action string) wire.LogicalCloudStatus {
	h.Helper()
	w := h.do(RoleOperator, http.MethodPost, cloudUnderTest+"/"+action, "")
	require.Equal(h, http.StatusAccepted, w.Code, w.Body)
	return read[wire.LogicalCloudStatus](h.T, w)
}

func (h *harness) cloud() *fsmpb.LogicalCloud { return h.node.View().Cloud("p", "c") }

// install makes the cloud's key, as the duty does.
func (h *harness) install() *ecdsa.PrivateKey {
	h.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(h, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(h, err)
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_InstallCloudKey{InstallCloudKey: &fsmpb.InstallCloudKey{
		Project: "p", Cloud: "c", Generation: h.cloud().GetGeneration(),
		Key: &fsmpb.CloudKey{Sealed: unmask(pkcs8), PublicKey: []byte{1}, Request: []byte{1}, CommonName: "jane:0123456789abcdef"},
	}}})
	return key
}

// request records that a request is about to be created.
func (h *harness) request(reference string) {
	h.Helper()
	row := h.node.View().Certificate("p", "c", reference)
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_RequestCertificates{RequestCertificates: &fsmpb.RequestCertificates{
		Requests: []*fsmpb.CertificateRequest{{
			Project: "p", Cloud: "c", Reference: reference, Generation: row.GetGeneration(), Round: row.GetRound() + 1, Name: "keysteward-" + reference,
		}},
	}}})
}

// see reports what the duty saw of a reference.
func (h *harness) see(reference string, kind fsmpb.CertificateObservation_Kind, change ...func(*fsmpb.CertificateObservation)) {
	h.Helper()
	row := h.node.View().Certificate("p", "c", reference)
	o := &fsmpb.CertificateObservation{
		Kind: kind, Project: "p", Cloud: "c", Reference: reference, Generation: row.GetGeneration(), Round: row.GetRound(), RequestUid: "uid-" + reference,
		Revision: row.GetWanted(),
	}
	for _, f := range change {
		f(o)
	}
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_ObserveCertificates{ObserveCertificates: &fsmpb.ObserveCertificates{
		Observations: []*fsmpb.CertificateObservation{o},
	}}})
}

func because(code, detail string) func(*fsmpb.CertificateObservation) {
	return func(o *fsmpb.CertificateObservation) { o.Code, o.Detail = code, detail }
}

// issue stores a certificate for the key that ends after a while, which may be past.
func (h *harness) issue(reference string, key *ecdsa.PrivateKey, life time.Duration) {
	h.Helper()
	to := time.Now().Add(life)
	from := to.Add(-24 * time.Hour)
	h.see(reference, fsmpb.CertificateObservation_KIND_ISSUED, func(o *fsmpb.CertificateObservation) {
		o.Pem, o.Serial = string(certificatePEM(key, "jane:0123456789abcdef", 77, from, to)), "4d"
		o.NotBeforeWallMs, o.NotAfterWallMs = max(0, from.UnixMilli()), to.UnixMilli()
	})
}

// ready brings the cloud all the way.
func (h *harness) ready() {
	h.Helper()
	h.act("instantiate")
	key := h.install()
	for _, r := range h.cloud().GetPlan().GetReferences() {
		h.request(r)
		h.issue(r, key, time.Hour)
		h.see(r, fsmpb.CertificateObservation_KIND_APPLIED)
	}
}

// limited mints a token that is limited.
func (h *harness) limited(role Role, namespaces, projects []string) requestOption {
	h.Helper()
	token, _ := NewToken()
	hash := sha256.Sum256([]byte(token))
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_CreateToken{CreateToken: &fsmpb.CreateToken{Token: &fsmpb.Token{
		Name: "limited", Role: string(role), Namespaces: namespaces, Projects: projects, Sha256: hash[:],
	}}}})
	return bearing(token)
}
