package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keysteward/keysteward/api/wire"
)

// What the clouds of the bench are below, and their one reference.
const (
	benchProject   = "bench"
	benchProvider  = "bench"
	benchCluster   = "kubernetes"
	benchReference = "reference"
	cloudsURL      = "/v2/projects/" + benchProject + "/logical-clouds"

	preparing          = 16 // at once
	certificateTimeout = 30 * time.Second
	often              = time.Millisecond      // between two looks at the state of one
	seldom             = 10 * time.Millisecond // of many: looking takes from what is looked at
)

var errAnswer = errors.New("unexpected answer")

// post has something made, and fails unless the answer is that status.
func (c *localCluster) post(ctx context.Context, url string, body any, want int) error {
	code, err := c.call(ctx, http.MethodPost, url, body, nil)
	if err == nil && code != want {
		err = fmt.Errorf("%w: POST %s: status %d", errAnswer, url, code)
	}
	return err
}

// registerKubernetes makes what all clouds of the bench share.
func (c *localCluster) registerKubernetes(ctx context.Context, leader target, kubeconfig []byte) error {
	err := c.post(ctx, leader.API+"/v2/projects", wire.Project{Metadata: wire.ObjectMetadata{Name: benchProject}}, http.StatusCreated)
	if err != nil {
		return err
	}
	providers := leader.API + "/v2/cluster-providers"
	if err := c.post(ctx, providers, wire.ClusterProvider{Metadata: wire.ObjectMetadata{Name: benchProvider}}, http.StatusCreated); err != nil {
		return err
	}
	metadata, err := json.Marshal(wire.KubernetesCluster{Metadata: wire.ObjectMetadata{Name: benchCluster}})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	err = errors.Join(w.WriteField("metadata", string(metadata)), w.WriteField("file", string(kubeconfig)), w.Close())
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, providers+"/"+benchProvider+"/clusters", &form)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", w.FormDataContentType())
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("%w: register a Kubernetes cluster: status %d", errAnswer, resp.StatusCode)
	}
	return nil
}

// prepareClouds makes clouds that lack nothing but being instantiated, each with a
// namespace of its own.
func (c *localCluster) prepareClouds(ctx context.Context, leader target, prefix string, n int) ([]string, error) {
	names := make([]string, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(preparing)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", prefix, i)
		g.Go(func() error { return c.prepareCloud(ctx, leader, names[i]) })
	}
	return names, g.Wait() //nolint:wrapcheck // says what it is
}

func (c *localCluster) prepareCloud(ctx context.Context, leader target, name string) error {
	all := leader.API + cloudsURL
	err := c.post(ctx, all, wire.LogicalCloud{
		Metadata: wire.ObjectMetadata{Name: name},
		Spec:     wire.LogicalCloudSpec{Namespace: name, Level: "1", User: wire.CloudUser{UserName: "user", Type: "certificate"}},
	}, http.StatusCreated)
	if err != nil {
		return err
	}
	err = c.post(ctx, all+"/"+name+"/cluster-references", wire.ClusterReference{
		Metadata: wire.ObjectMetadata{Name: benchReference},
		Spec:     wire.ClusterReferenceSpec{ClusterProvider: benchProvider, Cluster: benchCluster},
	}, http.StatusCreated)
	if err != nil {
		return err
	}
	return c.post(ctx, all+"/"+name+"/user-permissions", wire.UserPermission{
		Metadata: wire.ObjectMetadata{Name: "pods"},
		Spec:     wire.UserPermissionSpec{Namespace: name, APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list"}},
	}, http.StatusCreated)
}

func (c *localCluster) instantiate(ctx context.Context, leader target, name string) error {
	return c.post(ctx, leader.API+cloudsURL+"/"+name+"/instantiate", nil, http.StatusAccepted)
}

// await looks until the one reference of a cloud is as it is to be. The leader answers
// from its state, with no commit that would delay what is waited for.
func (c *localCluster) await(ctx context.Context, leader target, name string, every time.Duration, is func(wire.CloudClusterStatus) bool) error {
	ctx, cancel := context.WithTimeout(ctx, certificateTimeout)
	defer cancel()
	for {
		var status wire.LogicalCloudStatus
		code, err := c.call(ctx, http.MethodGet, leader.API+cloudsURL+"/"+name+"/status?consistency=stale", nil, &status)
		switch {
		case err != nil:
			return fmt.Errorf("cloud %s: %w", name, err)
		case code == http.StatusOK && len(status.Clusters) == 1 && is(status.Clusters[0]):
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cloud %s: %w: %+v", name, errTimeout, status.Clusters)
		case <-time.After(every):
		}
	}
}

func isStored(s wire.CloudClusterStatus) bool {
	return s.Certificate.State == wire.CertificateStateIssued
}

func isReady(s wire.CloudClusterStatus) bool { return s.Ready }
