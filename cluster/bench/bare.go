package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	certificatesclient "k8s.io/client-go/kubernetes/typed/certificates/v1"
)

var errUnsigned = errors.New("the watch ended before there was a certificate")

// bareCertificate is what the cluster is compared with: a program that has one
// certificate signed and keeps nothing. It makes a key, creates a request, approves
// it, watches it until the certificate is there, and returns how long that took.
func bareCertificate(ctx context.Context, requests certificatesclient.CertificateSigningRequestInterface, name string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, certificateTimeout)
	defer cancel()
	begin := time.Now()
	done, err := approved(ctx, requests, name, nil)
	if err != nil {
		return 0, err
	}
	watcher, err := requests.Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, name).String(),
		ResourceVersion: done.ResourceVersion,
	})
	if err != nil {
		return 0, fmt.Errorf("watch request %s: %w", name, err)
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if seen, ok := event.Object.(*certificates.CertificateSigningRequest); ok && len(seen.Status.Certificate) > 0 {
			return time.Since(begin), nil
		}
	}
	return 0, fmt.Errorf("request %s: %w", name, errUnsigned)
}

// approved makes a key and a request for it, and approves that.
func approved(ctx context.Context, requests certificatesclient.CertificateSigningRequestInterface, name string, labels map[string]string) (*certificates.CertificateSigningRequest, error) {
	request, err := bareRequest(name)
	if err != nil {
		return nil, err
	}
	request.Labels = labels
	made, err := requests.Create(ctx, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("create request %s: %w", name, err)
	}
	made.Status.Conditions = append(made.Status.Conditions, certificates.CertificateSigningRequestCondition{
		Type: certificates.CertificateApproved, Status: core.ConditionTrue, Reason: "Bench", Message: "Approved by the bench.",
	})
	done, err := requests.UpdateApproval(ctx, name, made, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("approve request %s: %w", name, err)
	}
	return done, nil
}

func bareRequest(name string) (*certificates.CertificateSigningRequest, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return &certificates.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: certificates.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: certificates.KubeAPIServerClientSignerName,
			Usages:     []certificates.KeyUsage{certificates.UsageClientAuth},
		},
	}, nil
}
