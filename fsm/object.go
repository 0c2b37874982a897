package fsm

import (
	"bytes"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Bounds of what operators describe.
const (
	// MaxCloudParts is how many references, permissions, quotas, or key-values a
	// logical cloud has at most, of each.
	MaxCloudParts = 256
	// maxObject bounds one object, in bytes, so that a plan fits a record of a snapshot.
	maxObject     = 1 << 20
	maxPart       = 8 << 10
	maxObjectName = 128
)

// putObject creates an object, or replaces what an operator says of it. Its value
// is the [*fsmpb.Object] as it is kept. A creation that is repeated with the same
// Idempotency-Key and content changes nothing.
func (w *write) put(c *fsmpb.PutObject) Result {
	asked := wanted(c.GetObject())
	if no := checkObject(asked); no != nil {
		return Result{Refusal: no}
	}
	old := first[*fsmpb.Object](w.txn, tableObjects, objectKey(asked))
	switch no := w.checkParents(asked); {
	case no != nil:
		return Result{Refusal: no}
	case c.GetReplace() && old == nil:
		return Result{Refusal: refuse(NotFound, "there is no %s", objectText(asked))}
	case c.GetReplace():
		return w.replaceObject(old, asked)
	case old != nil && old.GetCreatedWith() != "" && old.GetCreatedWith() == asked.GetCreatedWith() && sameWish(old, asked):
		return Result{Value: old}
	case old != nil:
		return Result{Refusal: refuse(Exists, "there is a %s already", objectText(asked))}
	}
	if no := w.checkRoom(asked); no != nil {
		return Result{Refusal: no}
	}
	if no := w.checkCiphertext(asked); no != nil {
		return Result{Refusal: no}
	}
	asked.CreatedWallMs = w.cmd.GetWallMs()
	if cloud := asked.GetCloud(); cloud != nil {
		cloud.State, cloud.SinceMs = fsmpb.CloudState_CLOUD_STATE_CREATED, w.meta.GetClusterTimeMs()
	}
	w.putObject(asked)
	w.recordObject(asked, "create")
	return Result{Value: asked}
}

// wanted is an object with what an operator may say of it, and nothing else.
func wanted(o *fsmpb.Object) *fsmpb.Object {
	if o == nil {
		return &fsmpb.Object{}
	}
	o = proto.CloneOf(o)
	o.CreatedWallMs = 0
	if c := o.GetCluster(); c != nil {
		c.Uid = ""
	}
	if c := o.GetCloud(); c != nil {
		c.State, c.Generation, c.Plan, c.Key, c.Actions, c.SinceMs = 0, 0, nil, nil, nil, 0
	}
	return o
}

// sameWish reports whether an operator says the same in two objects. What a
// ciphertext holds is not known here; its key says that it is the same request.
func sameWish(a, b *fsmpb.Object) bool {
	a, b = wanted(a), wanted(b)
	a.CreatedWith, b.CreatedWith = "", ""
	for _, o := range []*fsmpb.Object{a, b} {
		if o.GetCluster() != nil {
			o.GetCluster().Sealed = nil
		}
	}
	return proto.Equal(a, b)
}

// replaceObject changes what an operator says of an object that is there.
func (w *write) replaceObject(old, asked *fsmpb.Object) Result {
	if sameWish(old, asked) && (asked.GetCluster() == nil || bytes.Equal(sealedIn(old), sealedIn(asked))) {
		return Result{Value: old}
	}
	if no := w.checkReplace(old, asked); no != nil {
		return Result{Refusal: no}
	}
	if no := w.checkCiphertext(asked); no != nil {
		return Result{Refusal: no}
	}
	asked.CreatedWith, asked.CreatedWallMs = old.GetCreatedWith(), old.GetCreatedWallMs()
	if c := asked.GetCluster(); c != nil {
		c.Uid = old.GetCluster().GetUid()
	}
	if c, was := asked.GetCloud(), old.GetCloud(); c != nil {
		c.State, c.Generation, c.Plan, c.Key, c.Actions, c.SinceMs = was.GetState(), was.GetGeneration(), was.GetPlan(), was.GetKey(), was.GetActions(), was.GetSinceMs()
	}
	w.putObject(asked)
	w.recordObject(asked, "change")
	return Result{Value: asked}
}

// checkReplace refuses to change under a live cloud what it was made of. What is
// only planned, permissions and quotas, changes with the next update.
func (w *write) checkReplace(old, asked *fsmpb.Object) *Refusal {
	if c, was := asked.GetCloud(), old.GetCloud(); c != nil && (isLive(was) || was.GetState() == fsmpb.CloudState_CLOUD_STATE_TERMINATE_FAILED) {
		made := proto.CloneOf(c)
		made.Metadata = was.GetMetadata()
		if !proto.Equal(wanted(&fsmpb.Object{Kind: &fsmpb.Object_Cloud{Cloud: made}}), wanted(&fsmpb.Object{Kind: &fsmpb.Object_Cloud{Cloud: was}})) {
			return refuse(WrongState, "%s is %s: only its metadata can be changed before it is terminated", objectText(old), stateText(was))
		}
	}
	if r := asked.GetReference(); r != nil {
		return w.checkAtRest(r.GetProject(), r.GetCloud(), "changed")
	}
	return nil
}

// checkAtRest refuses where a cloud is live.
func (w *write) checkAtRest(project, cloud, done string) *Refusal {
	if c := w.cloud(project, cloud).GetCloud(); isLive(c) {
		return refuse(WrongState, "logical cloud %s/%s is %s: terminate it before its cluster references are %s", project, cloud, stateText(c), done)
	}
	return nil
}

// checkParents refuses an object of something that is not there.
func (w *write) checkParents(o *fsmpb.Object) *Refusal {
	kind, names := objectNames(o)
	switch kind {
	case kindCluster:
		return w.want(kindProvider, names[0])
	case kindCloud:
		return w.want(kindProject, names[0])
	case kindReference, kindPermission, kindQuota, kindKeyValues:
		if no := w.want(kindProject, names[0]); no != nil {
			return no
		}
		if no := w.want(kindCloud, names[0], names[1]); no != nil {
			return no
		}
	}
	if r := o.GetReference(); r != nil {
		return w.want(kindCluster, r.GetProvider(), r.GetCluster())
	}
	return nil
}

// want refuses where there is no such object.
func (w *write) want(kind byte, names ...string) *Refusal {
	if w.object(kind, names...) != nil {
		return nil
	}
	return refuse(NotFound, "there is no %s %s", kindTexts[kind], strings.Join(names, "/"))
}

// checkRoom refuses one part of a cloud too many.
func (w *write) checkRoom(o *fsmpb.Object) *Refusal {
	kind, names := objectNames(o)
	if kind < kindReference {
		return nil
	}
	n := 0
	for range objectsUnder(w.txn, kind, names[0], names[1]) {
		n++
	}
	if n >= MaxCloudParts {
		return refuse(TooMany, "logical cloud %s/%s has %d of this kind, the most that it can have", names[0], names[1], n)
	}
	return nil
}

func (w *write) checkCiphertext(o *fsmpb.Object) *Refusal {
	if o.GetCluster() == nil {
		return nil
	}
	if len(o.GetCluster().GetSealed()) == 0 {
		return refuse(Invalid, "a Kubernetes cluster needs its sealed kubeconfig")
	}
	return w.checkSealed(o.GetCluster().GetSealed())
}

// checkObject refuses what could not be kept, or not be told apart.
func checkObject(o *fsmpb.Object) *Refusal {
	kind, names := objectNames(o)
	if kind == 0 {
		return refuse(Invalid, "an object of no kind")
	}
	if r := o.GetReference(); r != nil {
		names = append(names, r.GetProvider(), r.GetCluster())
	}
	for _, name := range names {
		if name == "" || len(name) > maxObjectName || strings.ContainsAny(name, "/\x00") {
			return refuse(Invalid, "a %s needs names of 1 to %d bytes without slashes", kindTexts[kind], maxObjectName)
		}
	}
	most := maxObject
	if kind == kindPermission || kind == kindQuota {
		most = maxPart // the plan of a cloud has all of them
	}
	if n := proto.Size(o); n > most {
		return refuse(Invalid, "%s of %d bytes, the longest has %d", objectText(o), n, most)
	}
	if c := o.GetCloud(); c != nil && (c.GetNamespace() == "" || c.GetUser() == "") {
		return refuse(Invalid, "%s needs a namespace and a user", objectText(o))
	}
	return nil
}

var kindTexts = map[byte]string{
	kindProject: "project", kindProvider: "cluster provider", kindCluster: "Kubernetes cluster", kindCloud: "logical cloud",
	kindReference: "cluster reference", kindPermission: "user permission", kindQuota: "cluster quota", kindKeyValues: "key-values",
}

// actionNames name the kinds of objects in the audit records.
var actionNames = map[byte]string{
	kindProject: "project", kindProvider: "provider", kindCluster: "cluster", kindCloud: "cloud",
	kindReference: "reference", kindPermission: "permission", kindQuota: "quota", kindKeyValues: "key-values",
}

// objectText names an object for people: logical cloud p/c.
func objectText(o *fsmpb.Object) string {
	kind, names := objectNames(o)
	return kindTexts[kind] + " " + strings.Join(names, "/")
}

func objectPath(o *fsmpb.Object) string {
	_, names := objectNames(o)
	return strings.Join(names, "/")
}

// recordObject puts a change of an object on record.
func (w *write) recordObject(o *fsmpb.Object, done string) {
	kind, _ := objectNames(o)
	detail := ""
	switch k := o.GetKind().(type) {
	case *fsmpb.Object_Cluster:
		detail = k.Cluster.GetServer()
	case *fsmpb.Object_Cloud:
		detail = fmt.Sprintf("namespace %s, user %s", k.Cloud.GetNamespace(), k.Cloud.GetUser())
	case *fsmpb.Object_Reference:
		detail = k.Reference.GetProvider() + "/" + k.Reference.GetCluster()
	case *fsmpb.Object_Permission:
		detail = permissionText(k.Permission)
	}
	w.record(actionNames[kind]+"."+done, objectPath(o), detail)
}

func permissionText(p *fsmpb.UserPermission) string {
	where := "namespace " + p.GetNamespace()
	if p.GetNamespace() == "" {
		where = "all namespaces"
	}
	return fmt.Sprintf("%s of %s in %s", strings.Join(p.GetVerbs(), ","), strings.Join(p.GetResources(), ","), where)
}
