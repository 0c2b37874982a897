package clienttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/kubernetes/kubeconfig"
)

// authority signs the certificates of users, in every Kubernetes cluster.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

// ClientAuthority is the certificate of the authority that vouches for users.
func (c *Cluster) ClientAuthority() *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.authority().certificate
}

func (c *Cluster) authority() *authority {
	ca := &c.clouds.ca
	if ca.key == nil {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fake-kubernetes"}, IsCA: true, BasicConstraintsValid: true,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageCertSign,
		}
		ca.key = newKey()
		ca.certificate = sign(template, template, ca.key, ca.key)
	}
	return ca
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func sign(template, parent *x509.Certificate, of, by *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, of.Public(), by)
	if err != nil {
		panic(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return certificate
}

// issue makes a key and a certificate for a user, PEM.
func (c *Cluster) issue(user string) (certificate, key []byte) {
	from, life := time.Now().Add(-time.Minute), time.Hour
	if c.Validity != nil {
		from, life = c.Validity()
	}
	c.clouds.serial++
	private := newKey()
	ca := c.authority()
	made := sign(&x509.Certificate{
		SerialNumber: big.NewInt(c.clouds.serial), Subject: pkix.Name{CommonName: user + ":0011223344556677"}, NotBefore: from, NotAfter: from.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.certificate, private, ca.key)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (c *Cluster) kubeconfigs(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, one, _ := strings.Cut(strings.TrimSuffix(r.URL.Path, "/kubeconfig"), "/cluster-references/")
	if !c.isThere(w, at) || one != "" && !c.isThere(w, at+"/cluster-references/"+one) {
		return
	}
	l := c.liveAt(at)
	references := l.references
	if one != "" {
		references = []string{one}
	}
	switch early := c.tooEarly(l); {
	case !l.isLive() || l.state == wire.CloudStateTerminating || one != "" && !slices.Contains(l.references, one):
		Problem(w, http.StatusConflict, "wrong-state", "the logical cloud is "+string(l.state))
	case l.state == wire.CloudStateInstantiateFailed:
		Problem(w, http.StatusConflict, "certificate-refused", c.clouds.reason.Message)
	case early:
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusAccepted, wire.PendingKubeconfig{
			Reference: references[0], Step: wire.CloudStepCertificate, Reason: c.clouds.reason.Code, Message: c.clouds.reason.Message, Waiting: references,
		})
	default:
		w.Header().Set("Content-Type", "application/yaml")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(c.rendered(at, references, r.URL.Query().Get("exec") == "true"))
	}
}

func (c *Cluster) rendered(at string, references []string, exec bool) []byte {
	spec := c.clouds.objects[at].value.(*wire.LogicalCloud).Spec
	var entries []kubeconfig.Entry
	for _, name := range references {
		of := c.clouds.objects[at+"/cluster-references/"+name].value.(*wire.ClusterReference).Spec
		e := kubeconfig.Entry{Reference: name, Cluster: c.clouds.objects["/v2/cluster-providers/"+of.ClusterProvider+"/clusters/"+of.Cluster].kubeconfig.Public}
		if !exec {
			e.Certificate, e.Key = c.issue(spec.User.UserName)
		}
		entries = append(entries, e)
	}
	parts := strings.Split(at, "/")
	render := func() ([]byte, error) { return kubeconfig.Render(spec.User.UserName, spec.Namespace, entries) }
	if exec {
		plugin := kubeconfig.Plugin{Project: parts[3], Cloud: parts[5], Args: []string{"--server", "https://advertised:8443"}}
		render = func() ([]byte, error) {
			return kubeconfig.RenderExec(spec.User.UserName, spec.Namespace, plugin, entries)
		}
	}
	text, err := render()
	if err != nil {
		panic(err)
	}
	return text
}
