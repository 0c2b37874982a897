package api

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

// Clouds is what the interface needs of the secrets of logical clouds. Both return
// [node.ErrSealed] on a sealed node.
type Clouds interface {
	// PutCluster seals a kubeconfig into the Kubernetes cluster of put, proposes that
	// on behalf of the caller, and returns it as it is kept. The kubeconfig remains the
	// caller's, who clears it.
	PutCluster(ctx context.Context, put *fsmpb.PutObject, kubeconfig []byte, caller *fsmpb.Caller, requestID string) (*fsmpb.Object, error)
	// NextKey makes the key of the generation that an action on a cloud begins, so that
	// both are decided at once. It is nil where the leader's duty makes it afterwards.
	NextKey(project, cloud string, action fsmpb.ActOnCloud_Action) *fsmpb.InstallCloudKey
	// CloudKey opens the private key of a cloud: PKCS#8, DER, which the caller clears.
	CloudKey(ctx context.Context, cloud *fsmpb.LogicalCloud) ([]byte, error)
}

// Bounds of a cloud's certificates: Kubernetes' least, and ten years.
const (
	minExpiration = 600
	maxExpiration = 10 * 365 * 24 * 60 * 60
	maxLabels     = 64
)

var clouds = objects[*fsmpb.LogicalCloud, wire.LogicalCloud]{
	what: "logical cloud", above: []string{projectParam}, own: cloudParam, guarded: true,
	all: func(v *fsm.View, above []string) iter.Seq[*fsmpb.LogicalCloud] { return v.Clouds(above[0]) },
	one: func(v *fsm.View, above []string, name string) *fsmpb.LogicalCloud { return v.Cloud(above[0], name) },
	of:  (*fsmpb.Object).GetCloud,
	row: func(above []string, m *fsmpb.Metadata) *fsmpb.Object {
		return &fsmpb.Object{Kind: &fsmpb.Object_Cloud{Cloud: &fsmpb.LogicalCloud{Project: above[0], Metadata: m}}}
	},
	spec: readCloud,
	show: func(_ Caller, k *fsmpb.LogicalCloud) wire.LogicalCloud {
		w := cloudOf(k)
		w.Status = wire.LogicalCloudSummary{State: cloudState(k), Generation: signed(k.GetGeneration())}
		return w
	},
	echo: cloudOf,
}

func cloudOf(k *fsmpb.LogicalCloud) wire.LogicalCloud {
	return wire.LogicalCloud{Metadata: metadataOf(k.GetMetadata()), Spec: wire.LogicalCloudSpec{
		Namespace: k.GetNamespace(), Level: "1", Labels: k.GetLabels(),
		User:         wire.CloudUser{UserName: k.GetUser(), Type: "certificate"},
		KeyAlgorithm: wire.KeyAlgorithm(k.GetAlgorithm()), ExpirationSeconds: int64(k.GetExpirationSeconds()),
	}}
}

func cloudState(k *fsmpb.LogicalCloud) wire.CloudState {
	return wire.CloudState(fsm.StateText(k.GetState()))
}

// readCloud reads what a cloud is to be.
func readCloud(s *Server, c *call, body *jsonObject, k *fsmpb.LogicalCloud) error {
	body.take("status") // it is shown where a cloud is read, and may be sent back
	spec := body.object("spec")
	if level := spec.text("level"); level != "" && level != "1" {
		spec.fail("level", "%s is not supported: clouds are of level \"1\", whose user has a namespace in each cluster", told(level))
	}
	k.Namespace = spec.text("namespace")
	spec.checkCloudNamespace(k.GetNamespace())
	user := spec.object("user")
	k.User = user.text("userName", "user-name")
	if err := certificate.CheckUser(k.GetUser()); err != nil {
		user.fail("userName", "%v", err)
	}
	if kind := user.text("type"); kind != "" && kind != "certificate" {
		user.fail("type", "%s is not supported: users log in with a \"certificate\"", told(kind))
	}
	_ = user.finish(true)
	k.Labels = spec.labels()
	algorithm, err := certificate.ParseAlgorithm(spec.text("keyAlgorithm"))
	if err != nil {
		spec.fail("keyAlgorithm", "want ECDSA-P256, RSA-4096 or Ed25519")
	}
	k.Algorithm = string(algorithm)
	life := spec.number("expirationSeconds")
	if life != 0 && (life < minExpiration || life > maxExpiration) {
		spec.fail("expirationSeconds", "%d is not 0 and not from %d to %d", life, minExpiration, maxExpiration)
		return body.finish(true)
	}
	k.ExpirationSeconds = uint32(life) //nolint:gosec // within its bounds
	if err := spec.finish(true); err != nil {
		return err
	}
	return s.mayHaveNamespace(c, k)
}

// checkCloudNamespace refuses what a cloud can not have as its own.
func (o *jsonObject) checkCloudNamespace(namespace string) {
	switch {
	case !dnsLabel.MatchString(namespace):
		o.fail("namespace", "want an RFC 1123 label: 1 to 63 of a-z 0-9 -, beginning and ending with a letter or digit")
	case strings.HasPrefix(namespace, "kube-"):
		o.fail("namespace", "Kubernetes keeps names that begin with kube- for itself")
	}
}

// mayHaveNamespace refuses a caller that is limited to other namespaces, too. One that
// is limited at all can not move a cloud: what permissions it has would be on a
// namespace that is no longer the cloud's own.
func (s *Server) mayHaveNamespace(c *call, k *fsmpb.LogicalCloud) error {
	if !c.caller.limited() {
		return nil
	}
	if own := c.caller.Namespaces; len(own) > 0 && !slices.Contains(own, k.GetNamespace()) {
		return s.refuse(c.caller.Remote, "limits", newProblem(forbidden, "%s is limited %s, and this concerns namespace %s", c.caller.Name, c.caller.limits(), k.GetNamespace()))
	}
	old := s.node.View().Cloud(k.GetProject(), k.GetMetadata().GetName())
	if old != nil && old.GetNamespace() != k.GetNamespace() && c.echo.Request().Method == http.MethodPut {
		return s.refuse(c.caller.Remote, "limits", newProblem(forbidden, "%s is limited %s, and can not move a cloud from namespace %s to another: delete it and make it again", c.caller.Name, c.caller.limits(), old.GetNamespace()))
	}
	return nil
}

// labels reads the labels of a cloud's namespace.
func (o *jsonObject) labels() map[string]string {
	inner := o.object("labels")
	labels := inner.textMap()
	if len(labels) > maxLabels {
		o.fail("labels", "%d of them, at most %d", len(labels), maxLabels)
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if err := checkLabel(name, labels[name]); err != nil {
			inner.fail(fieldName(name), "%v", err)
		}
	}
	return labels
}

func checkLabel(name, value string) error {
	if wrong := validation.IsQualifiedName(name); len(wrong) > 0 {
		return fmt.Errorf("no name of a label: %s", wrong[0])
	}
	if wrong := validation.IsValidLabelValue(value); len(wrong) > 0 {
		return fmt.Errorf("no value of a label: %s", wrong[0])
	}
	prefix, _, _ := strings.Cut(name, "/")
	if !strings.Contains(name, "/") {
		return nil
	}
	for _, taken := range []string{"kubernetes.io", "k8s.io", "keysteward.io"} {
		if prefix == taken || strings.HasSuffix(prefix, "."+taken) {
			return fmt.Errorf("labels of %s are not for clouds", taken)
		}
	}
	return nil
}
