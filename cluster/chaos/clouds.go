package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	authentication "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/cluster/await"
)

const (
	project, provider, home = "chaos", "acme", "here"
	cloudUser               = "dev"
	// cloudTime is how long one step of a cloud may take while all are tormented.
	cloudTime = 40 * time.Second
	builders  = 2
)

// clouds are people who make logical clouds, use them, and take them down again.
type clouds struct {
	kubernetes *controlPlane
	client     *client.Client

	mu     sync.Mutex
	given  int
	idents map[int64]identity // by generation
	found  []string
}

// identity is what a generation of a cloud is for good.
type identity struct{ cloud, commonName, key string }

// newClouds registers the Kubernetes cluster and makes a project, before there are faults.
func newClouds(ctx context.Context, s *stage) (*clouds, error) {
	c := &clouds{kubernetes: s.kubernetes, idents: map[int64]identity{}}
	var err error
	c.client, err = client.New(client.Config{
		Servers: s.Nodes.APIs(), TokenFile: s.Nodes.AdminToken(), UserAgent: "keysteward-chaos",
		RequestTimeout: callTime, RetryFor: cloudTime, BackoffMin: pollTime, BackoffMax: 500 * time.Millisecond,
	})
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	_, err = c.client.ClusterProviders().Create(ctx, wire.ClusterProvider{Metadata: named(provider)})
	if err == nil {
		_, err = c.client.Projects().Create(ctx, wire.Project{Metadata: named(project)})
	}
	if err == nil {
		_, err = c.client.KubernetesClusters(provider).Register(ctx, named(home), s.kubernetes.kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("describe clouds: %w", err)
	}
	return c, nil
}

func named(name string) wire.ObjectMetadata { return wire.ObjectMetadata{Name: name} }

// build makes one cloud after the other under one name until the context ends. What
// fails is left where it is: the next round goes on from there.
func (c *clouds) build(ctx context.Context, i int, r *rand.Rand) {
	name := fmt.Sprintf("cloud-%d", i)
	for ctx.Err() == nil {
		c.describe(ctx, name)
		if c.act(ctx, name, client.Instantiate) {
			c.use(ctx, name)
			if r.IntN(2) == 0 && c.act(ctx, name, client.RotateKey) {
				c.use(ctx, name)
			}
		}
		if c.act(ctx, name, client.Terminate) && r.IntN(2) == 0 {
			_ = c.client.LogicalClouds(project).Delete(ctx, name) // it may go on being described
		}
		_ = pause(ctx, time.Duration(r.IntN(1000))*time.Millisecond)
	}
}

// describe makes what there is not yet.
func (c *clouds) describe(ctx context.Context, name string) {
	_, _ = c.client.LogicalClouds(project).Create(ctx, wire.LogicalCloud{
		Metadata: named(name), Spec: wire.LogicalCloudSpec{Namespace: name, User: wire.CloudUser{UserName: cloudUser}},
	})
	_, _ = c.client.References(project, name).Create(ctx, wire.ClusterReference{
		Metadata: named(home), Spec: wire.ClusterReferenceSpec{ClusterProvider: provider, Cluster: home},
	})
	_, _ = c.client.Permissions(project, name).Create(ctx, wire.UserPermission{
		Metadata: named("pods"), Spec: wire.UserPermissionSpec{Namespace: name, APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}},
	})
}

// act does one action and waits until it is done everywhere.
func (c *clouds) act(ctx context.Context, name string, action client.CloudAction) bool {
	ctx, cancel := context.WithTimeout(ctx, cloudTime)
	defer cancel()
	if _, err := c.client.Act(ctx, project, name, action); err != nil {
		return false
	}
	want := wire.CloudStateInstantiated
	if action == client.Terminate {
		want = wire.CloudStateTerminated
	}
	_, err := c.client.AwaitCloud(ctx, project, name, func(s wire.LogicalCloudStatus) bool { return s.State == want }, func(wire.LogicalCloudStatus) {})
	return err == nil
}

// use fetches the kubeconfig and logs in with it. What is said of it holds if the
// generation is the same before and afterwards.
func (c *clouds) use(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, cloudTime)
	defer cancel()
	before, err := c.client.CloudStatus(ctx, project, name)
	if err != nil {
		return
	}
	text, err := c.client.AwaitKubeconfig(ctx, client.KubeconfigOptions{Project: project, Cloud: name, Reference: home, Hold: time.Second}, nil)
	if err != nil {
		return
	}
	who, err := whoami(ctx, text)
	after, failure := c.client.CloudStatus(ctx, project, name)
	if failure != nil || after.Generation != before.Generation {
		return
	}
	c.note(name, before, text, who, err)
}

var errAnonymous = errors.New("nobody is let in with it")

// whoami is who Kubernetes says that a kubeconfig logs in; empty if it did not answer.
func whoami(ctx context.Context, kubeconfig []byte) (string, error) {
	k, err := clientOf(kubeconfig)
	if err != nil {
		return "", err
	}
	review, err := k.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authentication.SelfSubjectReview{}, meta.CreateOptions{})
	switch {
	case apierrors.IsUnauthorized(err):
		return "", errAnonymous
	case err != nil: // it did not answer
		return "", nil //nolint:nilerr // that says nothing about the kubeconfig
	}
	return review.Status.UserInfo.Username, nil
}

// note checks a kubeconfig against all that were given before.
func (c *clouds) note(name string, status wire.LogicalCloudStatus, kubeconfig []byte, who string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given++
	wrong := func(format string, args ...any) {
		c.found = append(c.found, fmt.Sprintf("kubeconfig of %s, generation %d: ", name, status.Generation)+fmt.Sprintf(format, args...))
	}
	if err != nil {
		wrong("%v", err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		wrong("%v", err)
		return
	}
	pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		wrong("%v", err)
		return
	}
	if got := pair.Leaf.Subject.CommonName; got != status.CommonName {
		wrong("its common name is %s, the status says %s", got, status.CommonName)
	}
	if who != "" && who != status.CommonName {
		wrong("it logs %s in, not %s", who, status.CommonName)
	}
	is := identity{name, status.CommonName, string(config.KeyData)}
	if was, known := c.idents[status.Generation]; known && was != is {
		wrong("it was given with another key, or to %s", was.cloud)
	}
	for generation, other := range c.idents {
		if generation != status.Generation && (other.key == is.key || other.commonName == is.commonName) {
			wrong("its key or its name is that of generation %d", generation)
		}
	}
	c.idents[status.Generation] = is
}

// violations are what was wrong with kubeconfigs, and who has rights in Kubernetes
// although his cloud is gone.
func (c *clouds) violations(ctx context.Context) []string {
	var left []string
	err := await.For(ctx, settleTime, errUnsettled, func() bool {
		left = c.leftOver(ctx)
		return len(left) == 0
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	found := slices.Clone(c.found)
	if err != nil {
		found = append(found, left...)
	}
	return found
}

// leftOver are users that have rights and should not.
func (c *clouds) leftOver(ctx context.Context) (found []string) {
	users, err := c.kubernetes.users(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	lives := map[string]bool{}
	all, err := c.client.LogicalClouds(project).List(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	for _, cloud := range all {
		status, err := c.client.CloudStatus(ctx, project, cloud.Metadata.Name)
		if err != nil {
			return []string{err.Error()}
		}
		switch status.State {
		case wire.CloudStateInstantiating, wire.CloudStateInstantiated:
			lives[status.CommonName] = true
		case wire.CloudStateTerminating:
			return []string{status.Cloud + " is still being terminated"}
		default:
		}
	}
	for _, user := range users {
		if !lives[user] {
			found = append(found, user+" has rights in Kubernetes and no cloud")
		}
	}
	return found
}

// close ends the client.
func (c *clouds) close() { c.client.Close() }
