package local

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
)

// cloudDays is a cluster and the real Kubernetes clusters of its logical clouds, which
// kubectl looks at.
type cloudDays struct {
	*launcher

	t       *testing.T
	k       []*kubetest.Cluster
	client  *client.Client
	kubectl string // the program
	files   string // folder of kubeconfigs
}

const (
	cloudProject  = "shop"
	cloudProvider = "acme"
)

// places where the Kubernetes clusters are, which are their names and those of references.
var cloudPlaces = []string{"eu", "us"}

// newCloudDays starts two Kubernetes clusters that sign, and three nodes. No seed is
// brought: clouds need none.
func newCloudDays(t *testing.T, change ...func(*launcher)) *cloudDays {
	t.Helper()
	d := &cloudDays{t: t, files: t.TempDir()}
	d.launcher = newLauncher(t, 3, change...)
	d.k = kubetest.StartMany(t, len(cloudPlaces), kubetest.WithSigner())
	require.NoError(t, d.startNodes(t.Context()))
	d.findTools()
	return d
}

// findTools prepares kubectl and a client that insists.
func (d *cloudDays) findTools() {
	d.t.Helper()
	tool := exec.CommandContext(d.t.Context(), filepath.Join("..", "..", "scripts", "tool"), "kubectl")
	path, err := tool.Output()
	require.NoError(d.t, err, "scripts/tool kubectl")
	d.kubectl = strings.TrimSpace(string(path))
	d.client, err = client.New(client.Config{
		Servers: d.site.apiURLs(), TokenFile: d.site.tokens.Admin, CAFile: d.site.tls.ca(), RequestTimeout: 10 * time.Second, RetryFor: patience,
		BackoffMin: pollTime, BackoffMax: 10 * pollTime,
	})
	require.NoError(d.t, err)
	d.t.Cleanup(d.client.Close)
}

// must runs a client command of an admin that succeeds, and returns what it printed.
func (d *cloudDays) must(name string, args ...string) string {
	d.t.Helper()
	out, err := d.keysteward(d.t, name, args...)
	require.NoError(d.t, err, "%s %v: %s", name, args, out)
	return out
}

// register registers all Kubernetes clusters, of whom we are admins, and makes the project.
func (d *cloudDays) register() {
	d.t.Helper()
	ctx := d.t.Context()
	_, err := d.client.ClusterProviders().Create(ctx, wire.ClusterProvider{Metadata: named(cloudProvider)})
	require.NoError(d.t, err)
	_, err = d.client.Projects().Create(ctx, wire.Project{Metadata: named(cloudProject)})
	require.NoError(d.t, err)
	for i, place := range cloudPlaces {
		d.registerAt(place, d.k[i].AdminKubeconfig)
	}
}

func (d *cloudDays) registerAt(name, kubeconfig string) {
	d.t.Helper()
	_, err := d.client.KubernetesClusters(cloudProvider).Register(d.t.Context(), named(name), []byte(readText(d.t, kubeconfig)))
	require.NoError(d.t, err)
}

func named(name string) wire.ObjectMetadata { return wire.ObjectMetadata{Name: name} }

// describe makes a cloud in the namespace of its name, with a user who may read pods
// there, in these clusters.
func (d *cloudDays) describe(cloud, user string, clusters ...string) {
	d.t.Helper()
	ctx := d.t.Context()
	_, err := d.client.LogicalClouds(cloudProject).Create(ctx, wire.LogicalCloud{
		Metadata: named(cloud), Spec: wire.LogicalCloudSpec{Namespace: cloud, User: wire.CloudUser{UserName: user}},
	})
	require.NoError(d.t, err)
	for _, cluster := range clusters {
		_, err = d.client.References(cloudProject, cloud).Create(ctx, wire.ClusterReference{
			Metadata: named(cluster), Spec: wire.ClusterReferenceSpec{ClusterProvider: cloudProvider, Cluster: cluster},
		})
		require.NoError(d.t, err)
	}
	_, err = d.client.Permissions(cloudProject, cloud).Create(ctx, wire.UserPermission{
		Metadata: named("pods"),
		Spec:     wire.UserPermissionSpec{Namespace: cloud, APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list"}},
	})
	require.NoError(d.t, err)
}

func (d *cloudDays) act(cloud string, action client.CloudAction) wire.LogicalCloudStatus {
	d.t.Helper()
	status, err := d.client.Act(d.t.Context(), cloudProject, cloud, action)
	require.NoError(d.t, err)
	return status
}

func (d *cloudDays) status(cloud string) wire.LogicalCloudStatus {
	d.t.Helper()
	status, err := d.client.CloudStatus(d.t.Context(), cloudProject, cloud)
	require.NoError(d.t, err)
	return status
}

// await waits until the status of a cloud is as wanted.
func (d *cloudDays) await(cloud string, wanted func(wire.LogicalCloudStatus) bool) wire.LogicalCloudStatus {
	d.t.Helper()
	var status wire.LogicalCloudStatus
	require.Eventually(d.t, func() bool {
		var err error
		status, err = d.client.CloudStatus(d.t.Context(), cloudProject, cloud)
		return err == nil && wanted(status)
	}, 2*patience, pollTime, "%+v", &status)
	return status
}

func inState(state wire.CloudState) func(wire.LogicalCloudStatus) bool {
	return func(s wire.LogicalCloudStatus) bool { return s.State == state }
}

// waitsFor is true while a cluster of the cloud waits for that reason.
func waitsFor(reference, code string) func(wire.LogicalCloudStatus) bool {
	return func(s wire.LogicalCloudStatus) bool { return clusterOf(s, reference).Reason.Code == code }
}

func clusterOf(s wire.LogicalCloudStatus, reference string) wire.CloudClusterStatus {
	for _, c := range s.Clusters {
		if c.Reference == reference {
			return c
		}
	}
	return wire.CloudClusterStatus{}
}

// kubeconfig fetches one as soon as there is one, and returns the path of a file with it;
// of all references together if none is named.
func (d *cloudDays) kubeconfig(cloud, reference string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*patience)
	defer cancel()
	text, err := d.client.AwaitKubeconfig(ctx, client.KubeconfigOptions{Project: cloudProject, Cloud: cloud, Reference: reference}, nil)
	require.NoError(d.t, err)
	return d.keep(text)
}

// keep writes a kubeconfig into a file of its own.
func (d *cloudDays) keep(text []byte) string {
	d.t.Helper()
	file, err := os.CreateTemp(d.files, "kubeconfig-*")
	require.NoError(d.t, err)
	_, err = file.Write(text)
	require.NoError(d.t, err)
	require.NoError(d.t, file.Close())
	return file.Name()
}

// kube runs kubectl with a kubeconfig, and nothing else that it could find.
func (d *cloudDays) kube(kubeconfig string, args ...string) (string, error) {
	d.t.Helper()
	cmd := exec.CommandContext(d.t.Context(), d.kubectl, append([]string{"--kubeconfig", kubeconfig, "--request-timeout=20s"}, args...)...)
	cmd.Env = []string{
		"HOME=" + d.files, "PATH=" + filepath.Dir(d.binary), "KEYSTEWARD_TOKEN_FILE=" + d.site.tokens.Admin, "KEYSTEWARD_CA_FILE=" + d.site.tls.ca(),
		"KEYSTEWARD_CACHE_FOR=1s",
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// whoami is who the Kubernetes cluster says that a kubeconfig logs in.
func (d *cloudDays) whoami(kubeconfig string, args ...string) string {
	d.t.Helper()
	out, err := d.kube(kubeconfig, append([]string{"auth", "whoami", "-o", "json"}, args...)...)
	require.NoError(d.t, err, out)
	var review struct {
		Status struct {
			UserInfo struct {
				Username string   `json:"username"`
				Groups   []string `json:"groups"`
			} `json:"userInfo"`
		} `json:"status"`
	}
	require.NoError(d.t, json.Unmarshal([]byte(out), &review), out)
	require.Equal(d.t, []string{"system:authenticated"}, review.Status.UserInfo.Groups, "no organisation")
	return review.Status.UserInfo.Username
}

// requireLogsIn holds if a kubeconfig logs its user in, who may list pods in the
// namespace of the cloud, and nowhere else.
func (d *cloudDays) requireLogsIn(kubeconfig, cloud, user string, args ...string) {
	d.t.Helper()
	require.Equal(d.t, user, d.whoami(kubeconfig, args...))
	out, err := d.kube(kubeconfig, append([]string{"get", "pods", "-n", cloud}, args...)...)
	require.NoError(d.t, err, out)
	d.requireForbidden(kubeconfig, append([]string{"get", "pods", "-n", "default"}, args...)...)
}

func (d *cloudDays) requireForbidden(kubeconfig string, args ...string) {
	d.t.Helper()
	out, err := d.kube(kubeconfig, args...)
	require.Error(d.t, err, out)
	require.Contains(d.t, strings.ToLower(out), "forbidden")
}
