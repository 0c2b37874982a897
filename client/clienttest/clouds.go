package clienttest

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/kubernetes/kubeconfig"
)

// clouds is what the cluster knows under /v2.
type clouds struct {
	objects map[string]object // by path
	live    map[string]*live  // by path of the logical cloud
	counter int64             // of generations and revisions
	ca      authority
	serial  int64
	waits   int // looks before something is ready
	reason  wire.WaitReason
}

// object is a thing under /v2.
type object struct {
	value       any
	createdWith string
	kubeconfig  kubeconfig.Cluster
}

func newClouds() clouds { return clouds{objects: map[string]object{}, live: map[string]*live{}} }

// Registered returns the kubeconfig with which a Kubernetes cluster was registered.
func (c *Cluster) Registered(provider, cluster string) kubeconfig.Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clouds.objects["/v2/cluster-providers/"+provider+"/clusters/"+cluster].kubeconfig
}

func (c *Cluster) routeClouds(mux *http.ServeMux, leader func(http.HandlerFunc) http.HandlerFunc) {
	const projects, providers = "/v2/projects", "/v2/cluster-providers"
	const one = projects + "/{project}/logical-clouds/{cloud}"
	route(c, mux, leader, projects, func(p *wire.Project) *wire.ObjectMetadata { return &p.Metadata })
	route(c, mux, leader, providers, func(p *wire.ClusterProvider) *wire.ObjectMetadata { return &p.Metadata })
	route(c, mux, leader, projects+"/{project}/logical-clouds", func(l *wire.LogicalCloud) *wire.ObjectMetadata { return &l.Metadata })
	route(c, mux, leader, one+"/cluster-references", func(r *wire.ClusterReference) *wire.ObjectMetadata { return &r.Metadata })
	route(c, mux, leader, one+"/user-permissions", func(p *wire.UserPermission) *wire.ObjectMetadata { return &p.Metadata })
	route(c, mux, leader, one+"/cluster-quotas", func(q *wire.ClusterQuota) *wire.ObjectMetadata { return &q.Metadata })
	route(c, mux, leader, one+"/kv-pairs", func(k *wire.KeyValues) *wire.ObjectMetadata { return &k.Metadata })
	route(c, mux, leader, providers+"/{provider}/clusters", func(k *wire.KubernetesCluster) *wire.ObjectMetadata { return &k.Metadata })
	mux.HandleFunc("GET "+one+"/status", leader(c.cloudStatus))
	mux.HandleFunc("GET "+one+"/kubeconfig", leader(c.kubeconfigs))
	mux.HandleFunc("GET "+one+"/cluster-references/{reference}/kubeconfig", leader(c.kubeconfigs))
	for _, action := range []string{"instantiate", "update", "terminate", "rotate-key"} {
		mux.HandleFunc("POST "+one+"/"+action, leader(func(w http.ResponseWriter, r *http.Request) { c.act(w, r, action) }))
	}
}

// route serves the objects of one kind.
func route[T any](c *Cluster, mux *http.ServeMux, leader func(http.HandlerFunc) http.HandlerFunc, path string, metadata func(*T) *wire.ObjectMetadata) {
	mux.HandleFunc("GET "+path, leader(func(w http.ResponseWriter, r *http.Request) { c.listObjects(w, r) }))
	mux.HandleFunc("POST "+path, leader(func(w http.ResponseWriter, r *http.Request) {
		if o, ok := read(w, r, metadata); ok {
			c.createObject(w, r, r.URL.Path+"/"+metadata(o.value.(*T)).Name, o)
		}
	}))
	mux.HandleFunc("GET "+path+"/{name}", leader(c.getObject))
	mux.HandleFunc("PUT "+path+"/{name}", leader(func(w http.ResponseWriter, r *http.Request) {
		if o, ok := read(w, r, metadata); ok {
			c.putObject(w, r, o)
		}
	}))
	mux.HandleFunc("DELETE "+path+"/{name}", leader(c.deleteObject))
}

// read reads a body, JSON or the form of a Kubernetes cluster.
func read[T any](w http.ResponseWriter, r *http.Request, metadata func(*T) *wire.ObjectMetadata) (object, bool) {
	var value T
	o := object{value: &value, createdWith: r.Header.Get("Idempotency-Key")}
	media, parameters, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	body := io.Reader(r.Body)
	var err error
	if media == "multipart/form-data" {
		body, o.kubeconfig, err = readForm(multipart.NewReader(r.Body, parameters["boundary"]))
	}
	if err != nil {
		Problem(w, http.StatusBadRequest, "invalid-field", err.Error())
		return o, false
	}
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&value); err != nil || metadata(&value).Name == "" {
		Problem(w, http.StatusBadRequest, "invalid-field", "the body is not what is wanted")
		return o, false
	}
	if k, ok := o.value.(*wire.KubernetesCluster); ok {
		at := o.kubeconfig.Public
		k.Status = wire.KubernetesClusterStatus{Server: at.Server, Authority: len(at.CA) > 0, TLSServerName: at.TLSServerName, Created: time.Unix(1_800_000_000, 0).UTC()}
	}
	return o, true
}

func readForm(form *multipart.Reader) (io.Reader, kubeconfig.Cluster, error) {
	var metadata io.Reader
	var cluster kubeconfig.Cluster
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			if metadata == nil {
				err = errors.New("metadata: it is missing")
			} else {
				err = nil
			}
			return metadata, cluster, err
		}
		if err != nil {
			return nil, cluster, err
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, cluster, err
		}
		switch part.FormName() {
		case "metadata":
			metadata = strings.NewReader(string(content))
		case "file":
			if cluster, err = kubeconfig.Parse(content); err != nil {
				return nil, cluster, err
			}
		}
	}
}

func (c *Cluster) listObjects(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.hasParent(w, r.URL.Path) {
		return
	}
	var names []string
	for path := range c.clouds.objects {
		if name, found := strings.CutPrefix(path, r.URL.Path+"/"); found && !strings.Contains(name, "/") {
			names = append(names, path)
		}
	}
	slices.Sort(names)
	list := []any{}
	for _, path := range names {
		list = append(list, c.shown(path))
	}
	answer(w, http.StatusOK, list)
}

// shown is an object the way it is read.
func (c *Cluster) shown(path string) any {
	cloud, ok := c.clouds.objects[path].value.(*wire.LogicalCloud)
	if !ok {
		return c.clouds.objects[path].value
	}
	shown, l := *cloud, c.liveAt(path)
	shown.Status = wire.LogicalCloudSummary{State: l.state, Generation: l.generation}
	return shown
}

func (c *Cluster) createObject(w http.ResponseWriter, r *http.Request, path string, o object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.hasParent(w, r.URL.Path) {
		return
	}
	if old, there := c.clouds.objects[path]; there && (o.createdWith == "" || old.createdWith != o.createdWith) {
		Problem(w, http.StatusConflict, "exists", "there is "+path)
		return
	}
	c.clouds.objects[path] = o
	answer(w, http.StatusCreated, o.value)
}

// hasParent answers 404 if what a list belongs to is not there.
func (c *Cluster) hasParent(w http.ResponseWriter, list string) bool {
	parent := list[:strings.LastIndex(list, "/")]
	if _, there := c.clouds.objects[parent]; !there && parent != "/v2" {
		Problem(w, http.StatusNotFound, "not-found", "there is no "+parent)
		return false
	}
	return true
}

func (c *Cluster) getObject(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isThere(w, r.URL.Path) {
		answer(w, http.StatusOK, c.shown(r.URL.Path))
	}
}

func (c *Cluster) isThere(w http.ResponseWriter, path string) bool {
	_, there := c.clouds.objects[path]
	if !there {
		Problem(w, http.StatusNotFound, "not-found", "there is no "+path)
	}
	return there
}

func (c *Cluster) putObject(w http.ResponseWriter, r *http.Request, o object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isThere(w, r.URL.Path) {
		c.clouds.objects[r.URL.Path] = o
		answer(w, http.StatusOK, o.value)
	}
}

func (c *Cluster) deleteObject(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	path := r.URL.Path
	if !c.isThere(w, path) {
		return
	}
	if _, cloud := c.clouds.objects[path].value.(*wire.LogicalCloud); cloud && c.liveAt(path).isLive() {
		Problem(w, http.StatusConflict, "wrong-state", "the logical cloud is live")
		return
	}
	for other, o := range c.clouds.objects {
		reference, ok := o.value.(*wire.ClusterReference)
		used := ok && path == "/v2/cluster-providers/"+reference.Spec.ClusterProvider+"/clusters/"+reference.Spec.Cluster
		if !strings.Contains(path, "/logical-clouds/") && strings.HasPrefix(other, path+"/") || used {
			Problem(w, http.StatusConflict, "in-use", "it is used by "+other)
			return
		}
	}
	for other := range c.clouds.objects {
		if other == path || strings.HasPrefix(other, path+"/") {
			delete(c.clouds.objects, other)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
