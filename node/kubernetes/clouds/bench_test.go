package clouds

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	client "k8s.io/client-go/kubernetes/typed/certificates/v1"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
)

// bare has one certificate signed the way a plain client-go program does.
func bare(t testing.TB, requests client.CertificateSigningRequestInterface, n int) {
	t.Helper()
	ctx := t.Context()
	key, err := certificate.GenerateKey(certificate.ECDSAP256)
	require.NoError(t, err)
	name := fmt.Sprintf("bare-%d-%d", time.Now().UnixNano(), n)
	der, err := certificate.Request(key, name)
	require.NoError(t, err)
	csr := certificate.Object(certificate.Wanted{Name: name, Request: der})
	csr.Labels = nil
	csr, err = requests.Create(ctx, csr, metav1.CreateOptions{})
	require.NoError(t, err)
	csr.Status.Conditions = append(csr.Status.Conditions, certificates.CertificateSigningRequestCondition{
		Type: certificates.CertificateApproved, Status: core.ConditionTrue, Reason: "bare",
	})
	csr, err = requests.UpdateApproval(ctx, name, csr, metav1.UpdateOptions{})
	require.NoError(t, err)
	w, err := requests.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name, ResourceVersion: csr.ResourceVersion})
	require.NoError(t, err)
	defer w.Stop()
	for event := range w.ResultChan() {
		if csr, ok := event.Object.(*certificates.CertificateSigningRequest); ok && len(csr.Status.Certificate) > 0 {
			return
		}
	}
	require.Fail(t, "the watch ended")
}

// BenchmarkCertificates compares the duty with a plain program.
func BenchmarkCertificates(b *testing.B) {
	kube := kubetest.Start(b, kubetest.WithSigner())
	clients, err := client.NewForConfig(kube.Admin)
	require.NoError(b, err)
	requests := clients.CertificateSigningRequests()
	s := newScene(b, kube)
	s.lead()
	one := 0
	issued := func(clouds ...string) {
		s.instantiate(clouds...)
		for _, c := range clouds {
			s.eventually(func() bool { return s.row(c, 0).GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_ISSUED }, c, "issued")
		}
	}
	b.Run("one/bare", func(b *testing.B) {
		for b.Loop() {
			one++
			bare(b, requests, one)
		}
	})
	b.Run("one/duty", func(b *testing.B) {
		for b.Loop() {
			one++
			b.StopTimer()
			name := fmt.Sprintf("one-%d", one)
			s.cloud(name, []int{0})
			b.StartTimer()
			issued(name)
			b.StopTimer()
			s.awaitUp(name)
			<-time.After(300 * time.Millisecond) // controllers are at the namespace
			b.StartTimer()
		}
	})
	const many = 200
	b.Run("many/bare", func(b *testing.B) {
		for b.Loop() {
			for range many {
				one++
				bare(b, requests, one)
			}
		}
	})
	b.Run("many/duty", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			var names []string
			for range many {
				one++
				names = append(names, fmt.Sprintf("many-%d", one))
				s.cloud(names[len(names)-1], []int{0})
			}
			b.StartTimer()
			issued(names...)
			b.StopTimer()
			began := time.Now()
			s.awaitUp(names...)
			b.Logf("objects: %s more", time.Since(began))
			b.StartTimer()
		}
	})
}

// BenchmarkThousand has 1,000 clouds over two clusters instantiated and terminated.
func BenchmarkThousand(b *testing.B) {
	const clouds = 1000
	s := newScene(b, kubetest.StartMany(b, 2, kubetest.WithSigner())...)
	s.patience = 10 * time.Minute
	s.lead()
	var names []string
	for i := range clouds {
		names = append(names, fmt.Sprintf("c%d", i))
		s.cloud(names[i], []int{i % 2}, func(c *fsmpb.LogicalCloud) { c.Namespace = s.namespace(fmt.Sprintf("n%d", i%20)) })
	}
	for b.Loop() {
		began := time.Now()
		s.instantiate(names...)
		for i, name := range names {
			s.eventually(func() bool { return s.row(name, i%2).GetPem() != "" }, name, "issued")
		}
		b.Logf("certificates after %s", time.Since(began).Round(time.Millisecond))
		s.awaitUp(names...)
		b.Logf("objects after %s", time.Since(began).Round(time.Millisecond))
		began = time.Now()
		for _, name := range names {
			s.terminate(name)
		}
		for _, name := range names {
			s.awaitTerminated(name)
		}
		b.Logf("terminated after %s", time.Since(began).Round(time.Millisecond))
	}
}
