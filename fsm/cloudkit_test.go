package fsm

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const (
	instantiate = fsmpb.ActOnCloud_ACTION_INSTANTIATE
	update      = fsmpb.ActOnCloud_ACTION_UPDATE
	terminate   = fsmpb.ActOnCloud_ACTION_TERMINATE
	rotateKey   = fsmpb.ActOnCloud_ACTION_ROTATE_KEY
)

func named(name string) *fsmpb.Metadata { return &fsmpb.Metadata{Name: name} }

func testProject(name string) *fsmpb.Object {
	return &fsmpb.Object{Kind: &fsmpb.Object_Project{Project: &fsmpb.Project{Metadata: named(name)}}}
}

func testProvider(name string) *fsmpb.Object {
	return &fsmpb.Object{Kind: &fsmpb.Object_Provider{Provider: &fsmpb.ClusterProvider{Metadata: named(name)}}}
}

func testCluster(provider, name string) *fsmpb.Object {
	return &fsmpb.Object{Kind: &fsmpb.Object_Cluster{Cluster: &fsmpb.KubernetesCluster{
		Provider: provider, Metadata: named(name), Server: "https://k", Sealed: under(1, "kubeconfig "+name),
	}}}
}

func testCloud(project, name string) *fsmpb.Object {
	return &fsmpb.Object{Kind: &fsmpb.Object_Cloud{Cloud: &fsmpb.LogicalCloud{
		Project: project, Metadata: named(name), Namespace: "ns", User: "u", Labels: map[string]string{"a": "b", "c": "d"},
	}}}
}

func testReference(project, cloud, name string) *fsmpb.Object {
	return &fsmpb.Object{Kind: &fsmpb.Object_Reference{Reference: &fsmpb.ClusterReference{
		Project: project, Cloud: cloud, Metadata: named(name), Provider: "cp", Cluster: "k",
	}}}
}

func testPermission(project, cloud, name, namespace string) *fsmpb.Object {
	return &fsmpb.Object{Kind: &fsmpb.Object_Permission{Permission: &fsmpb.UserPermission{
		Project: project, Cloud: cloud, Metadata: named(name), Namespace: namespace, Resources: []string{"pods"}, Verbs: []string{"get"},
	}}}
}

func testQuota(project, cloud, name string) *fsmpb.Object {
	return &fsmpb.Object{Kind: &fsmpb.Object_Quota{Quota: &fsmpb.ClusterQuota{
		Project: project, Cloud: cloud, Metadata: named(name), Hard: map[string]string{"limits.cpu": "4", "pods": "1"},
	}}}
}

func testKeyValues(project, cloud, name string) *fsmpb.Object {
	return &fsmpb.Object{Kind: &fsmpb.Object_KeyValues{KeyValues: &fsmpb.KeyValues{Project: project, Cloud: cloud, Metadata: named(name), Pairs: []string{"{}"}}}}
}

func (r *replica) put(o *fsmpb.Object) {
	r.t.Helper()
	r.ok(&fsmpb.PutObject{Object: o})
}

// describe makes a cloud that can be instantiated, and what it needs.
func (r *replica) describe(project, cloud string, references ...string) {
	r.t.Helper()
	for _, o := range []*fsmpb.Object{testProject(project), testProvider("cp"), testCluster("cp", "k")} {
		if first[*fsmpb.Object](r.View().txn, tableObjects, objectKey(o)) == nil {
			r.put(o)
		}
	}
	r.put(testCloud(project, cloud))
	r.put(testPermission(project, cloud, "u", "ns"))
	for _, reference := range references {
		r.put(testReference(project, cloud, reference))
	}
}

func (r *replica) act(a fsmpb.ActOnCloud_Action, project, cloud string) *fsmpb.LogicalCloud {
	r.t.Helper()
	c, ok := r.ok(&fsmpb.ActOnCloud{Project: project, Cloud: cloud, Action: a}).(*fsmpb.LogicalCloud)
	require.True(r.t, ok)
	return c
}

func testCloudKey(generation uint64) *fsmpb.CloudKey {
	return &fsmpb.CloudKey{Sealed: under(1, fmt.Sprint("key ", generation)), PublicKey: []byte("p"), Request: []byte("r"), CommonName: fmt.Sprint("u:", generation)}
}

// nextRequest is the one that comes next for a reference.
func nextRequest(c *fsmpb.Certificate) *fsmpb.CertificateRequest {
	return &fsmpb.CertificateRequest{
		Project: c.GetProject(), Cloud: c.GetCloud(), Reference: c.GetReference(), Generation: c.GetGeneration(),
		Round: c.GetRound() + 1, Name: fmt.Sprintf("csr-%s-%d-%d", c.GetReference(), c.GetGeneration(), c.GetRound()+1),
	}
}

// giveKey installs the key of the present generation with requests for references.
func (r *replica) giveKey(project, cloud string, references ...string) {
	r.t.Helper()
	c := &fsmpb.InstallCloudKey{Project: project, Cloud: cloud, Generation: r.View().Cloud(project, cloud).GetGeneration()}
	c.Key = testCloudKey(c.GetGeneration())
	for _, reference := range references {
		c.Requests = append(c.Requests, nextRequest(r.View().Certificate(project, cloud, reference)))
	}
	r.ok(c)
}

// seen is what is observed of a reference as it is.
func (r *replica) seen(kind fsmpb.CertificateObservation_Kind, project, cloud, reference string) *fsmpb.CertificateObservation {
	c := r.View().Certificate(project, cloud, reference)
	o := &fsmpb.CertificateObservation{
		Kind: kind, Project: project, Cloud: cloud, Reference: reference, Generation: c.GetGeneration(), Round: c.GetRound(),
		RequestUid: fmt.Sprintf("uid %d %d", c.GetGeneration(), c.GetRound()), Revision: c.GetWanted(),
	}
	switch kind {
	case fsmpb.CertificateObservation_KIND_ISSUED:
		o.Pem, o.Serial, o.NotBeforeWallMs, o.NotAfterWallMs = fmt.Sprintf("pem %d %d", c.GetGeneration(), c.GetRound()), "1", 1000, 4000
	case fsmpb.CertificateObservation_KIND_STUCK:
		o.Code = CodeStuck
	default:
	}
	return o
}

func (r *replica) see(kind fsmpb.CertificateObservation_Kind, project, cloud, reference string) {
	r.t.Helper()
	r.ok(&fsmpb.ObserveCertificates{Observations: []*fsmpb.CertificateObservation{r.seen(kind, project, cloud, reference)}})
}

// issue sees a reference of an instantiated cloud through to its certificate.
func (r *replica) issue(project, cloud, reference string) {
	r.t.Helper()
	if r.View().Cloud(project, cloud).GetKey() == nil {
		r.giveKey(project, cloud)
	}
	r.ok(&fsmpb.RequestCertificates{Requests: []*fsmpb.CertificateRequest{nextRequest(r.View().Certificate(project, cloud, reference))}})
	for _, kind := range []fsmpb.CertificateObservation_Kind{
		fsmpb.CertificateObservation_KIND_REQUESTED, fsmpb.CertificateObservation_KIND_APPROVED,
		fsmpb.CertificateObservation_KIND_ISSUED, fsmpb.CertificateObservation_KIND_APPLIED,
	} {
		r.see(kind, project, cloud, reference)
	}
}

func (r *replica) state(project, cloud string) string {
	return StateText(r.View().Cloud(project, cloud).GetState())
}
