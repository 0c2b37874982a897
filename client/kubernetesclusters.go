package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/textproto"

	"github.com/keysteward/keysteward/api/wire"
)

// KubernetesClusters are the Kubernetes clusters of a provider.
type KubernetesClusters struct {
	objects Objects[wire.KubernetesCluster]
}

// KubernetesClusters are those of a provider.
func (c *Client) KubernetesClusters(provider string) KubernetesClusters {
	return KubernetesClusters{Objects[wire.KubernetesCluster]{
		c: c, what: "Kubernetes cluster", path: pathProviders + "/" + provider + "/clusters",
		name:   func(k wire.KubernetesCluster) string { return k.Metadata.Name },
		parent: []named{{"cluster provider", provider}},
	}}
}

// List returns all of them, by name.
func (k KubernetesClusters) List(ctx context.Context) ([]wire.KubernetesCluster, error) {
	return k.objects.List(ctx)
}

// Get returns one of them; its kubeconfig is never told.
func (k KubernetesClusters) Get(ctx context.Context, name string) (wire.KubernetesCluster, error) {
	return k.objects.Get(ctx, name)
}

// Delete has the cluster forgotten.
func (k KubernetesClusters) Delete(ctx context.Context, name string) error {
	return k.objects.Delete(ctx, name)
}

// Register registers a cluster with the kubeconfig by which the servers log in to it.
// It is repeated safely: the server knows it again.
func (k KubernetesClusters) Register(ctx context.Context, metadata wire.ObjectMetadata, kubeconfig []byte) (wire.KubernetesCluster, error) {
	return k.upload(ctx, metadata, kubeconfig, "register ", call{method: http.MethodPost, path: k.objects.path, idempotencyKey: rand.Text()})
}

// Replace gives a cluster another kubeconfig, and another description.
func (k KubernetesClusters) Replace(ctx context.Context, metadata wire.ObjectMetadata, kubeconfig []byte) (wire.KubernetesCluster, error) {
	return k.upload(ctx, metadata, kubeconfig, "change ", call{method: http.MethodPut, path: k.objects.path + "/" + metadata.Name})
}

func (k KubernetesClusters) upload(ctx context.Context, metadata wire.ObjectMetadata, kubeconfig []byte, doing string, q call) (wire.KubernetesCluster, error) {
	var err error
	if q.body, q.contentType, err = clusterForm(metadata, kubeconfig); err != nil {
		return wire.KubernetesCluster{}, err
	}
	defer clear(q.body)
	return k.objects.one(ctx, metadata.Name, doing, q)
}

// clusterForm is the multipart body (RFC 7578) of two parts. It holds a credential.
func clusterForm(metadata wire.ObjectMetadata, kubeconfig []byte) (body []byte, contentType string, err error) {
	description, err := json.Marshal(wire.ClusterDescription{Metadata: metadata})
	if err != nil {
		return nil, "", fmt.Errorf("encode request: %w", err)
	}
	var b bytes.Buffer
	b.Grow(len(description) + len(kubeconfig) + 1024) // grown once, so that there is one copy
	form := multipart.NewWriter(&b)
	for _, part := range []struct {
		disposition, contentType string
		content                  []byte
	}{
		{`form-data; name="metadata"`, mediaJSON, description},
		{`form-data; name="file"; filename="kubeconfig"`, "application/yaml", kubeconfig},
	} {
		w, err := form.CreatePart(textproto.MIMEHeader{"Content-Disposition": {part.disposition}, "Content-Type": {part.contentType}})
		if err != nil {
			return nil, "", fmt.Errorf("encode request: %w", err)
		}
		if _, err := w.Write(part.content); err != nil {
			return nil, "", fmt.Errorf("encode request: %w", err)
		}
	}
	if err := form.Close(); err != nil {
		return nil, "", fmt.Errorf("encode request: %w", err)
	}
	return b.Bytes(), form.FormDataContentType(), nil
}
