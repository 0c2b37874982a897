package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"

	"github.com/keysteward/keysteward/api/wire"
)

// Objects are all of one kind that have the same parent. Problems are of the types
// not-found, exists, in-use, wrong-state and incomplete, among others.
type Objects[T any] struct {
	c      *Client
	what   string // one of them, in words
	path   string
	name   func(T) string
	parent []named
}

// named is a name of something, in a path.
type named struct{ what, name string }

// Editable are objects that can be changed after they were made.
type Editable[T any] struct{ Objects[T] }

const (
	pathProjects  = "/v2/projects"
	pathProviders = "/v2/cluster-providers"
)

// Projects are all projects.
func (c *Client) Projects() Editable[wire.Project] {
	return Editable[wire.Project]{Objects[wire.Project]{
		c: c, what: "project", path: pathProjects, name: func(p wire.Project) string { return p.Metadata.Name },
	}}
}

// ClusterProviders are all providers of Kubernetes clusters.
func (c *Client) ClusterProviders() Objects[wire.ClusterProvider] {
	return Objects[wire.ClusterProvider]{
		c: c, what: "cluster provider", path: pathProviders, name: func(p wire.ClusterProvider) string { return p.Metadata.Name },
	}
}

// LogicalClouds are the logical clouds of a project.
func (c *Client) LogicalClouds(project string) Editable[wire.LogicalCloud] {
	return Editable[wire.LogicalCloud]{Objects[wire.LogicalCloud]{
		c: c, what: "logical cloud", path: pathProjects + "/" + project + "/logical-clouds",
		name:   func(l wire.LogicalCloud) string { return l.Metadata.Name },
		parent: []named{{"project", project}},
	}}
}

// References are the Kubernetes clusters of a logical cloud.
func (c *Client) References(project, cloud string) Editable[wire.ClusterReference] {
	return ofCloud(c, project, cloud, "cluster reference", "cluster-references", func(r wire.ClusterReference) string { return r.Metadata.Name })
}

// Permissions are what the user of a logical cloud may do.
func (c *Client) Permissions(project, cloud string) Editable[wire.UserPermission] {
	return ofCloud(c, project, cloud, "user permission", "user-permissions", func(p wire.UserPermission) string { return p.Metadata.Name })
}

// Quotas are the quotas of a logical cloud in each of its clusters.
func (c *Client) Quotas(project, cloud string) Editable[wire.ClusterQuota] {
	return ofCloud(c, project, cloud, "cluster quota", "cluster-quotas", func(q wire.ClusterQuota) string { return q.Metadata.Name })
}

// KeyValues are kept with a logical cloud, and nothing more.
func (c *Client) KeyValues(project, cloud string) Editable[wire.KeyValues] {
	return ofCloud(c, project, cloud, "key-values", "kv-pairs", func(k wire.KeyValues) string { return k.Metadata.Name })
}

func ofCloud[T any](c *Client, project, cloud, what, segment string, name func(T) string) Editable[T] {
	return Editable[T]{Objects[T]{
		c: c, what: what, path: cloudPath(project, cloud) + "/" + segment, name: name, parent: cloudNames(project, cloud),
	}}
}

// cloudPath is for names that were checked.
func cloudPath(project, cloud string) string {
	return pathProjects + "/" + project + "/logical-clouds/" + cloud
}

func cloudNames(project, cloud string) []named {
	return []named{{"project", project}, {"logical cloud", cloud}}
}

func checkNames(names ...named) error {
	for _, n := range names {
		if err := CheckObject(n.what, n.name); err != nil {
			return err
		}
	}
	return nil
}

// List returns all of them, by name.
func (o Objects[T]) List(ctx context.Context) ([]T, error) {
	if err := checkNames(o.parent...); err != nil {
		return nil, err
	}
	list, err := get[[]T](ctx, o.c, call{method: http.MethodGet, path: o.path, limit: maxList})
	if err != nil {
		return nil, fmt.Errorf("list of every %s: %w", o.what, err)
	}
	return list, nil
}

// Get returns one of them.
func (o Objects[T]) Get(ctx context.Context, name string) (T, error) {
	return o.one(ctx, name, "", call{method: http.MethodGet, path: o.path + "/" + name})
}

// Create makes a new one and returns what is kept of it. It is repeated safely: the
// server knows it again.
func (o Objects[T]) Create(ctx context.Context, object T) (T, error) {
	body, err := encode(object)
	if err != nil {
		return object, err
	}
	return o.one(ctx, o.name(object), "create ", call{method: http.MethodPost, path: o.path, body: body, idempotencyKey: rand.Text()})
}

// Put changes one that is there, by its name, and returns what is kept of it.
func (o Editable[T]) Put(ctx context.Context, object T) (T, error) {
	body, err := encode(object)
	if err != nil {
		return object, err
	}
	name := o.name(object)
	return o.one(ctx, name, "change ", call{method: http.MethodPut, path: o.path + "/" + name, body: body})
}

// Delete deletes one of them.
func (o Objects[T]) Delete(ctx context.Context, name string) error {
	if err := checkNames(append(o.parent, named{o.what, name})...); err != nil {
		return err
	}
	r, err := o.c.do(ctx, call{method: http.MethodDelete, path: o.path + "/" + name})
	if r.uncertain && IsType(err, TypeNotFound) { // an earlier try was carried out
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete %s %s: %w", o.what, name, err)
	}
	return nil
}

// one sends a call about one of them, and checks that the answer is about it too.
func (o Objects[T]) one(ctx context.Context, name, doing string, q call) (T, error) {
	var none T
	if err := checkNames(append(o.parent, named{o.what, name})...); err != nil {
		return none, err
	}
	object, err := get[T](ctx, o.c, q)
	if err == nil && o.name(object) != name {
		err = fmt.Errorf("%w: it is about %.80q", ErrAnswer, o.name(object))
	}
	if err != nil {
		return none, fmt.Errorf("%s%s %s: %w", doing, o.what, name, err)
	}
	return object, nil
}
