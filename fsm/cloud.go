package fsm

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// maxActions is how many actions a cloud remembers.
const maxActions = 32

var actionTexts = map[fsmpb.ActOnCloud_Action]string{
	fsmpb.ActOnCloud_ACTION_INSTANTIATE: "instantiate",
	fsmpb.ActOnCloud_ACTION_UPDATE:      "update",
	fsmpb.ActOnCloud_ACTION_TERMINATE:   "terminate",
	fsmpb.ActOnCloud_ACTION_ROTATE_KEY:  "rotate-key",
}

// actsFrom are the states in which an action can be taken.
var actsFrom = map[fsmpb.ActOnCloud_Action][]fsmpb.CloudState{
	fsmpb.ActOnCloud_ACTION_INSTANTIATE: {fsmpb.CloudState_CLOUD_STATE_CREATED, fsmpb.CloudState_CLOUD_STATE_TERMINATED},
	fsmpb.ActOnCloud_ACTION_UPDATE:      upStates,
	fsmpb.ActOnCloud_ACTION_ROTATE_KEY:  upStates,
	fsmpb.ActOnCloud_ACTION_TERMINATE:   append(slices.Clone(upStates), fsmpb.CloudState_CLOUD_STATE_TERMINATE_FAILED),
}

// upStates are those of a cloud that is, or shall be, in its clusters.
var upStates = []fsmpb.CloudState{
	fsmpb.CloudState_CLOUD_STATE_INSTANTIATING, fsmpb.CloudState_CLOUD_STATE_INSTANTIATED, fsmpb.CloudState_CLOUD_STATE_INSTANTIATE_FAILED,
}

// IsUp reports whether a cloud is, or shall be, in its clusters.
func IsUp(c *fsmpb.LogicalCloud) bool { return slices.Contains(upStates, c.GetState()) }

// isLive reports whether a cloud is up, or is being terminated.
func isLive(c *fsmpb.LogicalCloud) bool {
	return IsUp(c) || c.GetState() == fsmpb.CloudState_CLOUD_STATE_TERMINATING
}

var stateTexts = map[fsmpb.CloudState]string{
	fsmpb.CloudState_CLOUD_STATE_CREATED:            "Created",
	fsmpb.CloudState_CLOUD_STATE_INSTANTIATING:      "Instantiating",
	fsmpb.CloudState_CLOUD_STATE_INSTANTIATED:       "Instantiated",
	fsmpb.CloudState_CLOUD_STATE_INSTANTIATE_FAILED: "InstantiateFailed",
	fsmpb.CloudState_CLOUD_STATE_TERMINATING:        "Terminating",
	fsmpb.CloudState_CLOUD_STATE_TERMINATED:         "Terminated",
	fsmpb.CloudState_CLOUD_STATE_TERMINATE_FAILED:   "TerminateFailed",
}

// StateText is a cloud's state the way the API writes it.
func StateText(s fsmpb.CloudState) string { return stateTexts[s] }

func statesText(states []fsmpb.CloudState) string {
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = StateText(s)
	}
	return strings.Join(names, " or ")
}

func stateText(c *fsmpb.LogicalCloud) string { return StateText(c.GetState()) }

// changedCloud is a copy of a cloud's row that may be changed; the messages in it
// are shared and may not.
func changedCloud(o *fsmpb.Object) (*fsmpb.Object, *fsmpb.LogicalCloud) {
	old := o.GetCloud()
	c := &fsmpb.LogicalCloud{
		Project: old.GetProject(), Metadata: old.GetMetadata(), Namespace: old.GetNamespace(), Labels: old.GetLabels(), User: old.GetUser(),
		Algorithm: old.GetAlgorithm(), ExpirationSeconds: old.GetExpirationSeconds(), State: old.GetState(), Generation: old.GetGeneration(),
		Plan: old.GetPlan(), Key: old.GetKey(), Actions: old.GetActions(), SinceMs: old.GetSinceMs(),
	}
	return &fsmpb.Object{Kind: &fsmpb.Object_Cloud{Cloud: c}, CreatedWith: o.GetCreatedWith(), CreatedWallMs: o.GetCreatedWallMs()}, c
}

func (w *write) nextGeneration() uint64 {
	w.meta.Generation++
	return w.meta.GetGeneration()
}

// NextGeneration is the generation of the next cloud that is instantiated, or gets
// another key, if nobody is faster.
func NextGeneration(m *fsmpb.Meta) uint64 { return m.GetGeneration() + perGeneration }

// perGeneration is what beginning a generation takes of the counter: a revision and it.
const perGeneration = 2

// actOnCloud decides what an operator wants to be done with a cloud. Its value is
// the [*fsmpb.LogicalCloud] as it is then.
func (w *write) actOnCloud(a *fsmpb.ActOnCloud) Result {
	o := w.cloud(a.GetProject(), a.GetCloud())
	switch from, known := actsFrom[a.GetAction()]; {
	case !known:
		return Result{Refusal: refuse(Invalid, "action %d of a logical cloud", a.GetAction())}
	case o == nil:
		return Result{Refusal: refuse(NotFound, "there is no logical cloud %s/%s", a.GetProject(), a.GetCloud())}
	case !slices.Contains(from, o.GetCloud().GetState()):
		return Result{Refusal: refuse(WrongState, "%s is %s: %s is possible when it is %s", objectText(o), stateText(o.GetCloud()), actionTexts[a.GetAction()], statesText(from))}
	}
	next, c := changedCloud(o)
	var no *Refusal
	switch a.GetAction() {
	case fsmpb.ActOnCloud_ACTION_INSTANTIATE:
		if c.Plan, no = w.plan(c); no == nil {
			w.beginGeneration(c)
		}
	case fsmpb.ActOnCloud_ACTION_UPDATE:
		if c.Plan, no = w.plan(c); no == nil {
			w.wantAgain(c)
		}
	case fsmpb.ActOnCloud_ACTION_ROTATE_KEY:
		c.Plan = samePlan(c.GetPlan(), w.nextGeneration())
		w.beginGeneration(c)
	case fsmpb.ActOnCloud_ACTION_TERMINATE:
		w.terminate(c)
	}
	if no != nil {
		return Result{Refusal: no}
	}
	w.remember(c, actionTexts[a.GetAction()])
	w.putObject(next)
	w.settleCloud(a.GetProject(), a.GetCloud())
	w.record("cloud."+actionTexts[a.GetAction()], objectPath(o), fmt.Sprintf("generation %d, revision %d", c.GetGeneration(), c.GetPlan().GetRevision()))
	if k := a.GetKey(); k != nil && k.GetProject() == a.GetProject() && k.GetCloud() == a.GetCloud() {
		_ = w.installCloudKey(k) // a refusal changes nothing: the leader's duty makes another one
	}
	return Result{Value: w.cloud(a.GetProject(), a.GetCloud()).GetCloud()}
}

func (w *write) remember(c *fsmpb.LogicalCloud, action string) {
	past := c.GetActions()
	c.Actions = append(slices.Clone(past[max(0, len(past)-maxActions+1):]), &fsmpb.CloudAction{
		Action: action, Revision: c.GetPlan().GetRevision(), Generation: c.GetGeneration(),
		WallMs: w.cmd.GetWallMs(), By: brief(w.cmd.GetCaller().GetName()),
	})
}

// enter begins a state of a cloud.
func (w *write) enter(c *fsmpb.LogicalCloud, s fsmpb.CloudState) {
	c.State, c.SinceMs = s, w.meta.GetClusterTimeMs()
}

// plan is what the cloud's clusters shall hold from now on.
func (w *write) plan(c *fsmpb.LogicalCloud) (*fsmpb.CloudPlan, *Refusal) {
	project, name := c.GetProject(), c.GetMetadata().GetName()
	p := &fsmpb.CloudPlan{}
	for o := range objectsUnder(w.txn, kindReference, project, name) {
		p.References = append(p.References, o.GetReference().GetMetadata().GetName())
		if no := w.checkNamespace(c, o.GetReference()); no != nil {
			return nil, no
		}
	}
	primary := false
	for o := range objectsUnder(w.txn, kindPermission, project, name) {
		p.Permissions = append(p.Permissions, o.GetPermission())
		primary = primary || o.GetPermission().GetNamespace() == c.GetNamespace()
	}
	for o := range objectsUnder(w.txn, kindQuota, project, name) {
		p.Quotas = append(p.Quotas, o.GetQuota())
	}
	switch {
	case len(p.GetReferences()) == 0:
		return nil, refuse(Incomplete, "logical cloud %s/%s has no cluster reference", project, name)
	case !primary:
		return nil, refuse(Incomplete, "logical cloud %s/%s has no user permission on its primary namespace %s", project, name, c.GetNamespace())
	}
	p.Revision = w.nextGeneration()
	return p, nil
}

// checkNamespace refuses a namespace that a cloud of another project has, or has left
// something in, in the same Kubernetes cluster: its users would have each other's.
func (w *write) checkNamespace(c *fsmpb.LogicalCloud, r *fsmpb.ClusterReference) *Refusal {
	for _, k := range w.sameKubernetes(r.GetProvider(), r.GetCluster()) {
		for other := range certificatesOn(w.txn, indexOn, k.GetProvider(), k.GetMetadata().GetName()) {
			if other.GetProject() == c.GetProject() || other.GetRemoved() {
				continue
			}
			if o := w.cloud(other.GetProject(), other.GetCloud()).GetCloud(); o.GetNamespace() == c.GetNamespace() {
				return refuse(InUse, "namespace %s of Kubernetes cluster %s/%s is in use by another project", c.GetNamespace(), r.GetProvider(), r.GetCluster())
			}
		}
	}
	return nil
}

// samePlan is the plan as another revision.
func samePlan(p *fsmpb.CloudPlan, revision uint64) *fsmpb.CloudPlan {
	return &fsmpb.CloudPlan{Revision: revision, References: p.GetReferences(), Permissions: p.GetPermissions(), Quotas: p.GetQuotas()}
}

// beginGeneration starts with a new key, and no certificate.
func (w *write) beginGeneration(c *fsmpb.LogicalCloud) {
	c.Generation, c.Key = w.nextGeneration(), nil
	for _, row := range gather(certificatesOf(w.txn, c.GetProject(), c.GetMetadata().GetName())) {
		mustDelete(w.txn, tableCertificates, row)
	}
	for _, reference := range c.GetPlan().GetReferences() {
		mustInsert(w.txn, tableCertificates, w.wantCertificate(c, reference))
	}
	w.enter(c, fsmpb.CloudState_CLOUD_STATE_INSTANTIATING)
}

// wantCertificate is the row of a reference that is new in the plan.
func (w *write) wantCertificate(c *fsmpb.LogicalCloud, reference string) *fsmpb.Certificate {
	project, name := c.GetProject(), c.GetMetadata().GetName()
	r := w.object(kindReference, project, name, reference).GetReference()
	return &fsmpb.Certificate{
		Project: project, Cloud: name, Reference: reference, Provider: r.GetProvider(), Cluster: r.GetCluster(),
		Generation: c.GetGeneration(), State: fsmpb.CertificateState_CERTIFICATE_STATE_WANTED,
		Wanted: c.GetPlan().GetRevision(), SinceWallMs: w.cmd.GetWallMs(),
	}
}

// wantAgain has a changed plan brought to the clusters. Certificates stay as they
// are, but what was denied or failed is asked for again.
func (w *write) wantAgain(c *fsmpb.LogicalCloud) {
	for _, reference := range c.GetPlan().GetReferences() {
		old := w.certificate(c.GetProject(), c.GetMetadata().GetName(), reference)
		if old == nil {
			mustInsert(w.txn, tableCertificates, w.wantCertificate(c, reference))
			continue
		}
		row := proto.CloneOf(old)
		row.Wanted = c.GetPlan().GetRevision()
		if isRefusedCertificate(row) {
			row.State = fsmpb.CertificateState_CERTIFICATE_STATE_WANTED
		}
		w.explain(row, "", "")
		mustInsert(w.txn, tableCertificates, row)
	}
	w.enter(c, fsmpb.CloudState_CLOUD_STATE_INSTANTIATING)
}

// terminate forgets the key and the certificates, and has the clusters cleaned.
func (w *write) terminate(c *fsmpb.LogicalCloud) {
	c.Key = nil
	c.Plan = samePlan(c.GetPlan(), w.nextGeneration())
	for _, old := range gather(certificatesOf(w.txn, c.GetProject(), c.GetMetadata().GetName())) {
		mustInsert(w.txn, tableCertificates, &fsmpb.Certificate{
			Project: old.GetProject(), Cloud: old.GetCloud(), Reference: old.GetReference(), Provider: old.GetProvider(), Cluster: old.GetCluster(),
			Generation: old.GetGeneration(), State: fsmpb.CertificateState_CERTIFICATE_STATE_WANTED, Round: old.GetRound(),
			Removing: true, Removed: old.GetRemoved(), SinceWallMs: w.cmd.GetWallMs(),
		})
	}
	w.enter(c, fsmpb.CloudState_CLOUD_STATE_TERMINATING)
}

// settleCloud ends an action that has come to its end in all clusters.
func (w *write) settleCloud(project, name string) {
	o := w.cloud(project, name)
	state := w.settled(o.GetCloud())
	if o == nil || state == o.GetCloud().GetState() {
		return
	}
	next, c := changedCloud(o)
	w.enter(c, state)
	w.putObject(next)
	w.record("cloud.state", objectPath(o), stateText(c))
}

// settled is the state that a cloud is in, by how far it is in its clusters.
func (w *write) settled(c *fsmpb.LogicalCloud) fsmpb.CloudState {
	done, refused, stuck := true, false, false
	for row := range certificatesOf(w.txn, c.GetProject(), c.GetMetadata().GetName()) {
		done = done && !isOpenCertificate(row)
		refused = refused || isRefusedCertificate(row) && row.GetPem() == ""
		stuck = stuck || row.GetRemoving() && !row.GetRemoved() && row.GetCode() == CodeStuck
	}
	switch s := c.GetState(); s {
	case fsmpb.CloudState_CLOUD_STATE_INSTANTIATING:
		if refused {
			return fsmpb.CloudState_CLOUD_STATE_INSTANTIATE_FAILED
		}
		if done {
			return fsmpb.CloudState_CLOUD_STATE_INSTANTIATED
		}
		return s
	case fsmpb.CloudState_CLOUD_STATE_TERMINATING, fsmpb.CloudState_CLOUD_STATE_TERMINATE_FAILED:
		if done {
			return fsmpb.CloudState_CLOUD_STATE_TERMINATED
		}
		if stuck {
			return fsmpb.CloudState_CLOUD_STATE_TERMINATE_FAILED
		}
		return s
	default:
		return s
	}
}
