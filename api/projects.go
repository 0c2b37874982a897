package api

import (
	"iter"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Parameters of paths under /v2.
const (
	projectParam   = "project"
	providerParam  = "provider"
	cloudParam     = "cloud"
	referenceParam = "reference"
)

var projects = objects[*fsmpb.Project, wire.Project]{
	what: "project", own: projectParam,
	all: func(v *fsm.View, _ []string) iter.Seq[*fsmpb.Project] { return v.Projects() },
	one: func(v *fsm.View, _ []string, name string) *fsmpb.Project { return v.Project(name) },
	of:  (*fsmpb.Object).GetProject,
	row: func(_ []string, m *fsmpb.Metadata) *fsmpb.Object {
		return &fsmpb.Object{Kind: &fsmpb.Object_Project{Project: &fsmpb.Project{Metadata: m}}}
	},
	spec: noSpec[*fsmpb.Project],
	show: func(_ Caller, p *fsmpb.Project) wire.Project { return projectOf(p) },
	echo: projectOf,
}

func projectOf(p *fsmpb.Project) wire.Project {
	return wire.Project{Metadata: metadataOf(p.GetMetadata())}
}

var providers = objects[*fsmpb.ClusterProvider, wire.ClusterProvider]{
	what: "cluster provider", own: providerParam,
	all: func(v *fsm.View, _ []string) iter.Seq[*fsmpb.ClusterProvider] { return v.ClusterProviders() },
	one: func(v *fsm.View, _ []string, name string) *fsmpb.ClusterProvider { return v.ClusterProvider(name) },
	of:  (*fsmpb.Object).GetProvider,
	row: func(_ []string, m *fsmpb.Metadata) *fsmpb.Object {
		return &fsmpb.Object{Kind: &fsmpb.Object_Provider{Provider: &fsmpb.ClusterProvider{Metadata: m}}}
	},
	spec: noSpec[*fsmpb.ClusterProvider],
	show: func(_ Caller, p *fsmpb.ClusterProvider) wire.ClusterProvider { return providerOf(p) },
	echo: providerOf,
}

func providerOf(p *fsmpb.ClusterProvider) wire.ClusterProvider {
	return wire.ClusterProvider{Metadata: metadataOf(p.GetMetadata())}
}

// noSpec is of what has nothing but metadata.
func noSpec[P any](*Server, *call, *jsonObject, P) error { return nil }
