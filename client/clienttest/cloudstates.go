package clienttest

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
)

// live is what is in the clusters of a logical cloud.
type live struct {
	state                wire.CloudState
	generation, revision int64
	actions              []wire.CloudAction
	references           []string
	looks                int // at the status or kubeconfig, since the last action
}

func (l *live) isLive() bool {
	return slices.Contains([]wire.CloudState{
		wire.CloudStateInstantiating, wire.CloudStateInstantiated, wire.CloudStateInstantiateFailed, wire.CloudStateTerminating,
	}, l.state)
}

func (c *Cluster) liveAt(cloud string) *live {
	if c.clouds.live[cloud] == nil {
		c.clouds.live[cloud] = &live{state: wire.CloudStateCreated}
	}
	return c.clouds.live[cloud]
}

// Await makes everything about logical clouds wait for a reason, for so many looks; a
// negative number means for ever.
func (c *Cluster) Await(looks int, reason wire.WaitReason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clouds.waits, c.clouds.reason = looks, reason
}

// tooEarly counts a look, and tells whether it is too early.
func (c *Cluster) tooEarly(l *live) bool {
	l.looks++
	if c.clouds.waits < 0 || l.looks <= c.clouds.waits {
		return true
	}
	switch l.state { //nolint:exhaustive // the others stay
	case wire.CloudStateInstantiating:
		l.state = wire.CloudStateInstantiated
		if c.clouds.reason.Code == "denied" {
			l.state = wire.CloudStateInstantiateFailed
		}
	case wire.CloudStateTerminating:
		l.state = wire.CloudStateTerminated
	}
	return false
}

// Turns counts the generations of a logical cloud, 0 before the first.
func (c *Cluster) Turns(project, cloud string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.liveAt("/v2/projects/" + project + "/logical-clouds/" + cloud).generation
}

func (c *Cluster) act(w http.ResponseWriter, r *http.Request, action string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := strings.TrimSuffix(r.URL.Path, "/"+action)
	if !c.isThere(w, at) {
		return
	}
	l := c.liveAt(at)
	up := l.isLive() && l.state != wire.CloudStateTerminating
	from := map[string]bool{
		"instantiate": l.state == wire.CloudStateCreated || l.state == wire.CloudStateTerminated,
		"update":      up, "rotate-key": up, "terminate": up,
	}
	references := c.under(at + "/cluster-references")
	switch {
	case !from[action]:
		Problem(w, http.StatusConflict, "wrong-state", "the logical cloud is "+string(l.state)+", from which there is no "+action)
		return
	case action == "instantiate" && len(references) == 0:
		Problem(w, http.StatusBadRequest, "incomplete", "the logical cloud has no cluster reference")
		return
	}
	c.clouds.counter++
	l.looks, l.revision = 0, c.clouds.counter
	switch action {
	case "terminate":
		l.state = wire.CloudStateTerminating
	case "update":
		l.references = references
		l.state = wire.CloudStateInstantiating
	default:
		l.references, l.generation = references, c.clouds.counter
		l.state = wire.CloudStateInstantiating
	}
	l.actions = append(l.actions, wire.CloudAction{Action: action, Revision: l.revision, Generation: l.generation, Time: time.Unix(1_800_000_000, 0).UTC(), By: "root"})
	answer(w, http.StatusAccepted, c.statusOf(at, true))
}

// under lists the names of objects right below a path.
func (c *Cluster) under(at string) []string {
	var names []string
	for p := range c.clouds.objects {
		if path.Dir(p) == at {
			names = append(names, path.Base(p))
		}
	}
	slices.Sort(names)
	return names
}

func (c *Cluster) cloudStatus(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := strings.TrimSuffix(r.URL.Path, "/status")
	if c.isThere(w, at) {
		answer(w, http.StatusOK, c.statusOf(at, c.tooEarly(c.liveAt(at))))
	}
}

func (c *Cluster) statusOf(at string, early bool) wire.LogicalCloudStatus {
	parts, l := strings.Split(at, "/"), c.liveAt(at)
	status := wire.LogicalCloudStatus{
		Project: parts[3], Cloud: parts[5], State: l.state, Generation: l.generation, Revision: l.revision,
		Actions: append([]wire.CloudAction{}, l.actions...), Clusters: []wire.CloudClusterStatus{},
	}
	for _, name := range c.under(at + "/cluster-references") {
		spec := c.clouds.objects[at+"/cluster-references/"+name].value.(*wire.ClusterReference).Spec
		one := wire.CloudClusterStatus{Reference: name, ClusterProvider: spec.ClusterProvider, Cluster: spec.Cluster, Step: wire.CloudStepInstantiate}
		switch {
		case l.state == wire.CloudStateTerminating:
			one.Step, one.Reason = wire.CloudStepRemove, c.clouds.reason
		case l.state == wire.CloudStateTerminated:
			one.Step = wire.CloudStepRemoved
		case l.state == wire.CloudStateInstantiateFailed:
			one.Step, one.Reason = wire.CloudStepDenied, c.clouds.reason
		case !l.isLive():
		case !slices.Contains(l.references, name):
			one.Step = wire.CloudStepUpdate
		case early:
			one.Step, one.Reason = wire.CloudStepCertificate, c.clouds.reason
		default:
			one.Step, one.Ready = wire.CloudStepReady, true
			one.Certificate = wire.CertificateStatus{
				State: wire.CertificateStateIssued, RequestName: "keysteward-1", Serial: "1",
				NotBefore: time.Unix(1_800_000_000, 0).UTC(), RenewAt: time.Unix(1_800_002_400, 0).UTC(), NotAfter: time.Unix(1_800_003_600, 0).UTC(),
			}
		}
		status.Clusters = append(status.Clusters, one)
	}
	if l.generation > 0 && l.isLive() {
		status.CommonName = c.userOf(at) + ":0011223344556677"
	}
	return status
}

func (c *Cluster) userOf(at string) string {
	return c.clouds.objects[at].value.(*wire.LogicalCloud).Spec.User.UserName
}
