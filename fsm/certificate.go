package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const (
	maxRequestName = 253      // of Kubernetes
	maxCertificate = 64 << 10 // bytes of PEM
	maxObserve     = 1024     // observations or requests in one command
	maxCloudKey    = 16 << 10 // bytes, of each part
)

// CodeStuck says of a cloud that is being terminated that something of it stays in
// a cluster.
const CodeStuck = "stuck"

func isRefusedCertificate(c *fsmpb.Certificate) bool {
	return c.GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_DENIED || c.GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_FAILED
}

// installCloudKey brings the key of a generation that has none, and the first
// requests. Its value is nil.
func (w *write) installCloudKey(c *fsmpb.InstallCloudKey) Result {
	o := w.cloud(c.GetProject(), c.GetCloud())
	switch cloud := o.GetCloud(); {
	case o == nil:
		return Result{Refusal: refuse(NotFound, "there is no logical cloud %s/%s", c.GetProject(), c.GetCloud())}
	case !IsUp(cloud), cloud.GetGeneration() != c.GetGeneration():
		return Result{Refusal: refuse(StaleGeneration, "a key of generation %d for %s, which is %s in generation %d", c.GetGeneration(), objectText(o), stateText(cloud), cloud.GetGeneration())}
	case cloud.GetKey() != nil:
		return Result{Refusal: refuse(Exists, "%s has its key of generation %d", objectText(o), c.GetGeneration())}
	}
	if no := checkCloudKey(c.GetKey()); no != nil {
		return Result{Refusal: no}
	}
	if no := w.checkSealed(c.GetKey().GetSealed()); no != nil {
		return Result{Refusal: no}
	}
	if n := len(c.GetRequests()); n > maxObserve {
		return Result{Refusal: refuse(Invalid, "%d requests, at most %d", n, maxObserve)}
	}
	next, cloud := changedCloud(o)
	cloud.Key = c.GetKey()
	w.putObject(next)
	w.record("cloud.key", objectPath(o), fmt.Sprintf("generation %d, %s", c.GetGeneration(), c.GetKey().GetCommonName()))
	for _, r := range c.GetRequests() {
		w.requestOne(r)
	}
	return Result{}
}

func checkCloudKey(k *fsmpb.CloudKey) *Refusal {
	if k.GetCommonName() == "" || len(k.GetCommonName()) > maxObjectName {
		return refuse(Invalid, "a key needs a common name of 1 to %d bytes", maxObjectName)
	}
	for _, part := range [][]byte{k.GetSealed(), k.GetPublicKey(), k.GetRequest()} {
		if len(part) == 0 || len(part) > maxCloudKey {
			return refuse(Invalid, "a key needs its ciphertext, its public key and its request, of 1 to %d bytes each", maxCloudKey)
		}
	}
	return nil
}

// Requested is the value of a RequestCertificates command: how many were recorded.
type Requested int

// requestCertificates records requests that are about to be created. Those that
// are late are left out; if that leaves none, it is a refusal.
func (w *write) requestCertificates(c *fsmpb.RequestCertificates) Result {
	if n := len(c.GetRequests()); n == 0 || n > maxObserve {
		return Result{Refusal: refuse(Invalid, "%d requests, want 1 to %d", n, maxObserve)}
	}
	done := 0
	for _, r := range c.GetRequests() {
		if w.requestOne(r) {
			done++
		}
	}
	if done == 0 {
		return Result{Refusal: refuse(StaleGeneration, "none of the requests is for the present generation and the next round")}
	}
	return Result{Value: Requested(done)}
}

// requestOne records one request, if the certificate waits for one or is renewed.
func (w *write) requestOne(r *fsmpb.CertificateRequest) bool {
	old := w.certificate(r.GetProject(), r.GetCloud(), r.GetReference())
	cloud := w.cloud(r.GetProject(), r.GetCloud()).GetCloud()
	switch {
	case old == nil, old.GetRemoving(), cloud.GetKey() == nil, cloud.GetGeneration() != r.GetGeneration(), old.GetGeneration() != r.GetGeneration(),
		r.GetRound() != old.GetRound()+1, r.GetName() == "", len(r.GetName()) > maxRequestName,
		old.GetState() != fsmpb.CertificateState_CERTIFICATE_STATE_WANTED && old.GetState() != fsmpb.CertificateState_CERTIFICATE_STATE_ISSUED:
		return false
	}
	row := proto.CloneOf(old)
	row.State, row.Round = fsmpb.CertificateState_CERTIFICATE_STATE_REQUESTED, r.GetRound()
	row.RequestName, row.RequestUid = r.GetName(), ""
	w.explain(row, "", "")
	mustInsert(w.txn, tableCertificates, row)
	w.record("certificate.request", certificatePath(row), fmt.Sprintf("generation %d, round %d: %s", row.GetGeneration(), row.GetRound(), row.GetRequestName()))
	return true
}

func certificatePath(c *fsmpb.Certificate) string {
	return c.GetProject() + "/" + c.GetCloud() + "/" + c.GetReference()
}

// explain says why a certificate waits, if that changed.
func (w *write) explain(row *fsmpb.Certificate, code, detail string) {
	code, detail = brief(code), brief(detail)
	if code != row.GetCode() || row.GetSinceWallMs() == 0 {
		row.SinceWallMs = w.cmd.GetWallMs()
	}
	row.Code, row.Detail = code, detail
}

// discloseKubeconfig records that the key and certificates are about to be given
// to the caller. It is refused unless they are those of the generation. Its value
// is nil.
func (w *write) discloseKubeconfig(c *fsmpb.DiscloseKubeconfig) Result {
	o := w.cloud(c.GetProject(), c.GetCloud())
	cloud := o.GetCloud()
	switch {
	case o == nil:
		return Result{Refusal: refuse(NotFound, "there is no logical cloud %s/%s", c.GetProject(), c.GetCloud())}
	case !IsUp(cloud), cloud.GetGeneration() != c.GetGeneration(), cloud.GetKey() == nil:
		return Result{Refusal: refuse(StaleGeneration, "%s is %s in generation %d, not %d", objectText(o), stateText(cloud), cloud.GetGeneration(), c.GetGeneration())}
	case len(c.GetReferences()) == 0:
		return Result{Refusal: refuse(Invalid, "a kubeconfig of no cluster reference")}
	}
	for _, reference := range c.GetReferences() {
		if w.certificate(c.GetProject(), c.GetCloud(), reference).GetPem() == "" {
			return Result{Refusal: refuse(StaleGeneration, "%s has no certificate for %q in generation %d", objectText(o), brief(reference), c.GetGeneration())}
		}
	}
	w.record("kubeconfig.disclose", objectPath(o), fmt.Sprintf("generation %d: %s", c.GetGeneration(), briefList(c.GetReferences())))
	return Result{}
}
